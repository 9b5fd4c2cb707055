//! How much ZooKeeper is asked at once.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

const MAX: usize = 3;
const QUESTIONS: usize = 20;

/// What a man in the middle sees. Pings and watches count for nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// No answer is let through unless `MAX` requests are under way, or nothing more is to come.
    holds: bool,
    asked: usize,
    under_way: usize,
    most: usize,
}

/// The next frame, and its xid. The greetings of both sides begin with a 0 in its place.
async fn hear(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(i32, Vec<u8>)> {
    let size = from.read_i32().await?;
    let mut frame = vec![0; usize::try_from(size).expect("a size")];
    from.read_exact(&mut frame).await?;
    Ok((i32::from_be_bytes(frame[..4].try_into().expect("an xid")), frame))
}

async fn say(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> std::io::Result<()> {
    to.write_i32(i32::try_from(frame.len()).expect("a size")).await?;
    to.write_all(frame).await
}

async fn pass_questions(near: OwnedReadHalf, far: OwnedWriteHalf, seen: &watch::Sender<Seen>) {
    let (mut near, mut far) = (near, far);
    while let Ok((xid, frame)) = hear(&mut near).await {
        seen.send_modify(|seen| {
            if xid > 0 && seen.holds {
                seen.asked += 1;
                seen.under_way += 1;
                seen.most = seen.most.max(seen.under_way);
            }
        });
        if say(&mut far, &frame).await.is_err() {
            return;
        }
    }
}

async fn pass_answers(far: OwnedReadHalf, near: OwnedWriteHalf, seen: &watch::Sender<Seen>) {
    let (mut far, mut near, mut changes) = (far, near, seen.subscribe());
    while let Ok((xid, frame)) = hear(&mut far).await {
        let holds = seen.borrow().holds;
        if xid > 0 && holds {
            let full = |seen: &Seen| seen.under_way >= MAX || seen.asked >= QUESTIONS;
            let _ = changes.wait_for(full).await;
            seen.send_modify(|seen| seen.under_way -= 1);
        }
        if say(&mut near, &frame).await.is_err() {
            return;
        }
    }
}

/// Stands between one client and the server until either hangs up.
async fn stand_between(near: TcpStream, far: TcpStream, seen: watch::Sender<Seen>) {
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass_questions(near_in, far_out, &seen) => {}
        () = pass_answers(far_in, near_out, &seen) => {}
    }
}

#[tokio::test]
async fn as_many_requests_are_under_way_as_are_allowed_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let seen = watch::Sender::new(Seen::default());
    let server = ensemble::server().await;
    let watched = seen.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a connection");
            // Until the server is up the client tries again.
            let Ok(far) = TcpStream::connect(&server).await else { continue };
            tokio::spawn(stand_between(near, far, watched.clone()));
        }
    });
    let way = ("127.0.0.1".to_owned(), port);
    let zookeeper = ensemble::connect_by(way, "in-flight", Duration::from_secs(30), MAX).await;

    seen.send_modify(|seen| seen.holds = true);
    let mut asking = JoinSet::new();
    for question in 0..QUESTIONS {
        let zookeeper = Arc::clone(&zookeeper);
        asking.spawn(async move { zookeeper.get(&format!("/nothing-{question}")).await });
    }
    let all = timeout(PATIENCE, asking.join_all()).await.expect("they are answered in time");

    assert!(all.iter().all(|answer| matches!(answer, Ok(None))), "{all:?}");
    let seen = *seen.borrow();
    assert_eq!((seen.asked, seen.most), (QUESTIONS, MAX));
}
