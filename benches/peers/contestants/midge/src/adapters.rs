//! Midge over tokio, smol, and blocking sockets.

use std::thread;

use midge_std::Wait;
use peers_contestant::{Tally, Task, done, ready};
use tokio::runtime::Runtime;

use crate::{Failure, requests, stream, tasks};

/// Over tokio.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn tokio(runtime: &Runtime) -> Result<(), Failure> {
    let task = Task::from_args()?;
    let tally = runtime.block_on(async {
        let client = midge_tokio::connect(task.url()).await?;
        let Some(tasks) = tasks(&task) else {
            return stream(&task, &client).await;
        };
        client.flush().await?;
        ready()?;
        let share = task.count / tasks;
        if tasks == 1 {
            return requests(client, share, task.size).await;
        }
        let each: Vec<_> =
            (0..tasks).map(|_| tokio::spawn(requests(client.clone(), share, task.size))).collect();
        let mut tally = Tally::default();
        for one in each {
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
        let Some(tasks) = tasks(&task) else {
            return stream(&task, &client).await;
        };
        client.flush().await?;
        ready()?;
        let share = task.count / tasks;
        if tasks == 1 {
            return requests(client, share, task.size).await;
        }
        let each: Vec<_> =
            (0..tasks).map(|_| smol::spawn(requests(client.clone(), share, task.size))).collect();
        let mut tally = Tally::default();
        for one in each {
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
    let Some(tasks) = tasks(&task) else {
        done(&blocking(stream(&task, &client))?)?;
        return Ok(());
    };
    client.flush().wait()?;
    let share = task.count / tasks;
    ready()?;
    let mut tally = Tally::default();
    if tasks == 1 {
        tally = blocking(requests(client, share, task.size))?;
    } else {
        let each: Vec<_> = (0..tasks)
            .map(|_| {
                let requests = requests(client.clone(), share, task.size);
                thread::spawn(move || blocking(requests))
            })
            .collect();
        for one in each {
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
