//! How much ZooKeeper is asked at once, and how long for.

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
    /// No answer is let through unless so many requests are under way, or nothing more is to come, or this has ended.
    holds: Option<usize>,
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
            if xid > 0 && seen.holds.is_some() {
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
        if xid > 0 && holds.is_some() {
            let full = |seen: &Seen| {
                seen.holds.is_none_or(|enough| seen.under_way >= enough) || seen.asked >= QUESTIONS
            };
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

/// Where a client finds the server with the man in the middle.
async fn way_past(seen: watch::Sender<Seen>) -> (String, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = ensemble::server().await;
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a connection");
            // Until the server is up the client tries again.
            let Ok(far) = TcpStream::connect(&server).await else { continue };
            tokio::spawn(stand_between(near, far, seen.clone()));
        }
    });
    ("127.0.0.1".to_owned(), port)
}

#[tokio::test]
async fn as_many_requests_are_under_way_as_are_allowed_and_no_more() {
    let seen = watch::Sender::new(Seen::default());
    let way = way_past(seen.clone()).await;
    let zookeeper = ensemble::connect_by(way, "in-flight", Duration::from_secs(30), MAX).await;

    seen.send_modify(|seen| seen.holds = Some(MAX));
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

#[tokio::test]
async fn who_starts_waits_for_an_answer_for_longer_than_a_session_and_who_serves_does_not() {
    let seen = watch::Sender::new(Seen::default());
    let way = way_past(seen.clone()).await;
    let session = Duration::from_secs(2);
    let starting = ensemble::connect_by(way.clone(), "starting", session, MAX).await;
    let serving = ensemble::connect_by(way, "serving", session, MAX).await;
    starting.be_patient(true);

    seen.send_modify(|seen| seen.holds = Some(usize::MAX));
    let waiting = {
        let starting = Arc::clone(&starting);
        tokio::spawn(async move { starting.get("/nothing").await })
    };
    let mut asked = seen.subscribe();
    timeout(PATIENCE, asked.wait_for(|seen| seen.asked > 0)).await.expect("in time").expect("it is seen");
    let given_up = timeout(PATIENCE, serving.get("/nothing")).await.expect("it ends in time");
    // Of its own time, or of that of its last connection: whichever was over first.
    assert!(given_up.is_err(), "{given_up:?}");

    assert!(!waiting.is_finished(), "asked before the one that has given up");
    seen.send_modify(|seen| seen.holds = None);
    let answer = timeout(PATIENCE, waiting).await.expect("it is answered in time").expect("no panic");
    assert!(matches!(answer, Ok(None)), "{answer:?}");
}
