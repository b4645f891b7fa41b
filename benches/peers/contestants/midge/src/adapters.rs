//! Midge over tokio, smol, and blocking sockets.

use std::thread;

use bytes::Bytes;
use midge_std::Wait;
use midge_tokio::midge::{Client, ConnectError};
use peers_contestant::{Tally, Task, Workload, done, ready};
use tokio::runtime::Runtime;

use crate::{Failure, fan_out, publish, requests, share, stream, tasks};

/// Over tokio.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn tokio(runtime: &Runtime) -> Result<(), Failure> {
    let connect = async |url| midge_tokio::connect(url).await;
    let spawn = |work: Share| {
        let task = tokio::spawn(work);
        async move { task.await? }
    };
    done(&runtime.block_on(run(connect, spawn))?)?;
    Ok(())
}

/// Over smol, on the one thread of its executor.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn smol() -> Result<(), Failure> {
    let connect = async |url| midge_smol::connect(url).await;
    done(&smol::block_on(run(connect, smol::spawn::<Result<Tally, Failure>>))?)?;
    Ok(())
}

/// Over blocking sockets, called from a thread, or from one for each task.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn std() -> Result<(), Failure> {
    let connect = async |url| midge_std::connect(url);
    let spawn = |work: Share| {
        let thread = thread::spawn(move || work.wait());
        async move { thread.join().map_err(|_| "a thread panicked")? }
    };
    done(&run(connect, spawn).wait()?)?;
    Ok(())
}

/// What one of several tasks does.
type Share = std::pin::Pin<Box<dyn Future<Output = Result<Tally, Failure>> + Send>>;

/// The task of the command line. Where several tasks share it, each is spawned.
async fn run<T>(
    connect: impl AsyncFn(String) -> Result<Client, ConnectError>,
    spawn: impl Fn(Share) -> T,
) -> Result<Tally, Failure>
where
    T: Future<Output = Result<Tally, Failure>>,
{
    let task = Task::from_args()?;
    let client = connect(task.url()).await?;
    let shares: Vec<Share> = match task.workload {
        Workload::Publishers => {
            let payload = Bytes::from(task.payload());
            let one = |_| Box::pin(publish(client.clone(), task.share(), payload.clone())) as Share;
            (0..task.size).map(one).collect()
        }
        Workload::FanOut => {
            let all = fan_out(&client, task.size).await?.into_iter();
            all.map(|one| Box::pin(share(one, task.count / task.size as u64)) as Share).collect()
        }
        _ => match tasks(&task) {
            Some(1) => {
                client.flush().await?;
                ready()?;
                return requests(client, task.count, task.size).await;
            }
            Some(tasks) => {
                let each = task.count / tasks;
                let one = |_| Box::pin(requests(client.clone(), each, task.size)) as Share;
                (0..tasks).map(one).collect()
            }
            None => return stream(&task, &client, connect).await,
        },
    };
    client.flush().await?;
    ready()?;
    let running: Vec<T> = shares.into_iter().map(spawn).collect();
    let mut tally = Tally::default();
    for one in running {
        tally.add(&one.await?);
    }
    if task.workload == Workload::Publishers {
        client.flush().await?;
    }
    Ok(tally)
}
