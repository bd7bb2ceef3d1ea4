//! A server of NATS for one test: a thread per client, exact subjects and `>`-less `*` at the end, the first member of
//! a queue group gets all.
#![allow(
    clippy::disallowed_types,
    reason = "a test server may block; nothing of it is measured"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does wrong; numbers count the messages of the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Drops this message.
    Drops(u64),
    /// Reports an error instead.
    Fails(u64),
}

struct Subscription {
    subject: String,
    in_group: bool,
    stream: TcpStream,
}

#[derive(Default)]
struct State {
    count: u64,
    subscriptions: Vec<Subscription>,
}

/// Starts it. Every client is asked whether it is there, and has to say so before its first message is passed on.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::<Mutex<State>>::default();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || serve(stream, &state, fault));
        }
    });
    address
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, fault: Fault) {
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"INFO {\"server_id\":\"x\"}\r\n").unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut asked, mut answered) = (String::new(), false, false);
    loop {
        line.clear();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["CONNECT", options] => assert!(options.contains("\"verbose\":false"), "{options}"),
            ["SUB", subject, rest @ ..] => {
                let subscription = Subscription {
                    subject: (*subject).to_owned(),
                    in_group: rest.len() == 2,
                    stream: stream.try_clone().unwrap(),
                };
                state.lock().unwrap().subscriptions.push(subscription);
            }
            ["PING"] => {
                let ping = if asked { "" } else { "PING\r\n" };
                asked = true;
                // Nobody else writes to it at the same time.
                let _guard = state.lock().unwrap();
                stream.write_all(format!("PONG\r\n{ping}").as_bytes()).unwrap();
            }
            ["PONG"] => answered = true,
            ["PUB", subject, reply @ .., len] => {
                assert!(answered, "a ping was not answered");
                let mut payload = vec![0; len.parse::<usize>().unwrap() + 2];
                input.read_exact(&mut payload).unwrap();
                let reply = reply
                    .first()
                    .map_or_else(String::new, |reply| format!("{reply} "));
                let head = format!("MSG {subject} 1 {reply}{len}\r\n");
                pass(state, fault, (subject, head, payload), &mut stream);
            }
            other => panic!("the load generator sent {other:?}"),
        }
    }
}

fn pass(
    state: &Mutex<State>,
    fault: Fault,
    (subject, head, payload): (&str, String, Vec<u8>),
    stream: &mut TcpStream,
) {
    let mut state = state.lock().unwrap();
    state.count += 1;
    match fault {
        Fault::Drops(at) if at == state.count => return,
        Fault::Fails(at) if at == state.count => {
            let _ = stream.write_all(b"-ERR 'Maximum Payload Violation'\r\n");
            return;
        }
        _ => {}
    }
    let frame = [head.as_bytes(), &payload].concat();
    let mut group_has_it = false;
    for subscription in &mut state.subscriptions {
        let matches = match subscription.subject.strip_suffix('*') {
            Some(start) => subject.starts_with(start),
            None => subject == subscription.subject,
        };
        if !matches || (subscription.in_group && group_has_it) {
            continue;
        }
        group_has_it |= subscription.in_group;
        // Whoever subscribed may have gone.
        let _ = subscription.stream.write_all(&frame);
    }
}
