//! Midge over tokio, smol, and blocking sockets.

use std::thread;

use bytes::Bytes;
use midge_std::Wait;
use peers_contestant::{SUBSCRIPTIONS, Tally, Task, Workload, done, ready};
use tokio::runtime::Runtime;

use crate::{Failure, fan_out, publish, requests, share, stream, tasks};

/// Over tokio.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn tokio(runtime: &Runtime) -> Result<(), Failure> {
    let task = Task::from_args()?;
    let tally = runtime.block_on(async {
        let client = midge_tokio::connect(task.url()).await?;
        if task.workload == Workload::Publishers {
            let payload = Bytes::from(task.payload());
            client.flush().await?;
            ready()?;
            let each: Vec<_> = (0..task.size)
                .map(|_| tokio::spawn(publish(client.clone(), task.share(), payload.clone())))
                .collect();
            for one in each {
                one.await??;
            }
            client.flush().await?;
            return Ok(Tally::default());
        }
        if task.workload == Workload::FanOut {
            let all = fan_out(&client).await?;
            ready()?;
            let each: Vec<_> = all
                .into_iter()
                .map(|one| tokio::spawn(share(one, task.count / SUBSCRIPTIONS)))
                .collect();
            let mut tally = Tally::default();
            for one in each {
                tally.add(&one.await?);
            }
            return Ok(tally);
        }
        let Some(tasks) = tasks(&task) else {
            return stream(&task, &client, async |url| midge_tokio::connect(url).await).await;
        };
        client.flush().await?;
        ready()?;
        let each = task.count / tasks;
        if tasks == 1 {
            return requests(client, each, task.size).await;
        }
        let all: Vec<_> =
            (0..tasks).map(|_| tokio::spawn(requests(client.clone(), each, task.size))).collect();
        let mut tally = Tally::default();
        for one in all {
            tally.add(&one.await??);
        }
        Ok(tally)
    })?;
    done(&tally)?;
    Ok(())
}

/// Over smol, on the one thread of its executor.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn smol() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let tally: Result<Tally, Failure> = smol::block_on(async {
        let client = midge_smol::connect(task.url()).await?;
        if task.workload == Workload::Publishers {
            let payload = Bytes::from(task.payload());
            client.flush().await?;
            ready()?;
            let each: Vec<_> = (0..task.size)
                .map(|_| smol::spawn(publish(client.clone(), task.share(), payload.clone())))
                .collect();
            for one in each {
                one.await?;
            }
            client.flush().await?;
            return Ok(Tally::default());
        }
        if task.workload == Workload::FanOut {
            let all = fan_out(&client).await?;
            ready()?;
            let each: Vec<_> = all
                .into_iter()
                .map(|one| smol::spawn(share(one, task.count / SUBSCRIPTIONS)))
                .collect();
            let mut tally = Tally::default();
            for one in each {
                tally.add(&one.await);
            }
            return Ok(tally);
        }
        let Some(tasks) = tasks(&task) else {
            return stream(&task, &client, async |url| midge_smol::connect(url).await).await;
        };
        client.flush().await?;
        ready()?;
        let each = task.count / tasks;
        if tasks == 1 {
            return requests(client, each, task.size).await;
        }
        let all: Vec<_> =
            (0..tasks).map(|_| smol::spawn(requests(client.clone(), each, task.size))).collect();
        let mut tally = Tally::default();
        for one in all {
            tally.add(&one.await?);
        }
        Ok(tally)
    });
    done(&tally?)?;
    Ok(())
}

/// Over blocking sockets, called from a thread, or from one for each request in flight.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn std() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let client = midge_std::connect(task.url())?;
    if task.workload == Workload::Publishers {
        let payload = Bytes::from(task.payload());
        client.flush().wait()?;
        ready()?;
        let each: Vec<_> = (0..task.size)
            .map(|_| {
                let publish = publish(client.clone(), task.share(), payload.clone());
                thread::spawn(move || blocking(publish))
            })
            .collect();
        for one in each {
            one.join().map_err(|_| "a thread panicked")??;
        }
        client.flush().wait()?;
        done(&Tally::default())?;
        return Ok(());
    }
    if task.workload == Workload::FanOut {
        let all = blocking(fan_out(&client))?;
        ready()?;
        let mut tally = Tally::default();
        let each: Vec<_> = all
            .into_iter()
            .map(|one| thread::spawn(move || blocking(share(one, task.count / SUBSCRIPTIONS))))
            .collect();
        for one in each {
            tally.add(&one.join().map_err(|_| "a thread panicked")?);
        }
        done(&tally)?;
        return Ok(());
    }
    let Some(tasks) = tasks(&task) else {
        done(&blocking(stream(&task, &client, async |url| midge_std::connect(url)))?)?;
        return Ok(());
    };
    client.flush().wait()?;
    let each = task.count / tasks;
    ready()?;
    let mut tally = Tally::default();
    if tasks == 1 {
        tally = blocking(requests(client, each, task.size))?;
    } else {
        let all: Vec<_> = (0..tasks)
            .map(|_| {
                let requests = requests(client.clone(), each, task.size);
                thread::spawn(move || blocking(requests))
            })
            .collect();
        for one in all {
            tally.add(&one.join().map_err(|_| "a thread panicked")??);
        }
    }
    done(&tally)?;
    Ok(())
}

/// Waits as [`Wait`] does.
fn blocking<T>(work: impl Future<Output = T>) -> T {
    work.wait()
}
