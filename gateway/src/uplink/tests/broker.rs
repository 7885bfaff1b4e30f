//! A hand-made MQTT 5 endpoint for tests: it does exactly what a test says, wrong things included.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Broker {
    listener: TcpListener,
}

impl Broker {
    pub(super) async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, after its CONNECT; not answered yet.
    pub(super) async fn accept(&self) -> (Link, Connect) {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("nobody connects")
            .unwrap();
        let mut link = Link {
            stream,
            next_id: 1,
            puback: None,
        };
        let Packet { kind: 1, body, .. } = link.packet().await.expect("no CONNECT") else {
            panic!("not a CONNECT")
        };
        (link, Connect::parse(&body))
    }
}

#[derive(Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) user_name: String,
    pub(super) password: Vec<u8>,
    pub(super) keep_alive_s: u16,
    pub(super) clean_start: bool,
    pub(super) will_topic: String,
    pub(super) will_retained: bool,
}

impl Connect {
    fn parse(body: &[u8]) -> Self {
        let mut at = Cursor(body);
        assert_eq!((at.text(), at.byte()), ("MQTT".to_owned(), 5));
        let flags = at.byte();
        let keep_alive_s = at.short();
        at.properties();
        let client_id = at.text();
        assert_eq!(flags & 0b1100_0100, 0b1100_0100, "user name, password and will");
        at.properties();
        let will_topic = at.text();
        at.binary();
        let (user_name, password) = (at.text(), at.binary());
        let (clean_start, will_retained) = (flags & 2 != 0, flags & 32 != 0);
        Self {
            client_id,
            user_name,
            password,
            keep_alive_s,
            clean_start,
            will_topic,
            will_retained,
        }
    }
}

/// What a client sent.
#[derive(Debug)]
pub(super) enum Sent {
    Subscribe(Vec<String>),
    Publish {
        topic: String,
        payload: Vec<u8>,
        retained: bool,
    },
    Disconnect,
    /// The socket is closed.
    Gone,
}

pub(super) struct Link {
    stream: TcpStream,
    next_id: u16,
    /// Reason code for PUBACKs, if not success.
    pub(super) puback: Option<u8>,
}

struct Packet {
    kind: u8,
    flags: u8,
    body: Vec<u8>,
}

impl Link {
    /// CONNACK with success and this keep-alive.
    pub(super) async fn welcome(&mut self, keep_alive_s: u16) {
        let [high, low] = keep_alive_s.to_be_bytes();
        self.write(0x20, &[0, 0, 6, 0x21, 0, 32, 0x13, high, low]).await;
    }

    /// CONNACK with an error.
    pub(super) async fn refuse(&mut self, code: u8) {
        self.write(0x20, &[0, code, 0]).await;
    }

    /// The next thing that says something; pings and acks are answered on the way.
    pub(super) async fn next(&mut self) -> Sent {
        loop {
            let Some(Packet { kind, flags, body }) = self.packet().await else {
                return Sent::Gone;
            };
            let mut at = Cursor(&body);
            match kind {
                3 => {
                    let topic = at.text();
                    let id = at.short();
                    at.properties();
                    let [high, low] = id.to_be_bytes();
                    match self.puback {
                        None => self.write(0x40, &[high, low]).await,
                        Some(code) => self.write(0x40, &[high, low, code, 0]).await,
                    }
                    return Sent::Publish {
                        topic,
                        payload: at.0.to_vec(),
                        retained: flags & 1 != 0,
                    };
                }
                4 => {}
                8 => {
                    let id = at.short();
                    at.properties();
                    let mut topics = Vec::new();
                    while !at.0.is_empty() {
                        topics.push(at.text());
                        assert_eq!(at.byte() & 3, 1, "QoS 1");
                    }
                    let [high, low] = id.to_be_bytes();
                    let codes = vec![1; topics.len()];
                    self.write(0x90, &[&[high, low, 0][..], &codes].concat()).await;
                    return Sent::Subscribe(topics);
                }
                12 => self.write(0xD0, &[]).await,
                14 => return Sent::Disconnect,
                other => panic!("unexpected packet type {other}"),
            }
        }
    }

    /// The payload of the next publish, which must be on this topic.
    pub(super) async fn published(&mut self, topic: &str) -> Vec<u8> {
        match self.next().await {
            Sent::Publish {
                topic: got, payload, ..
            } if got == topic => payload,
            other => panic!("{topic} expected, got {other:?}"),
        }
    }

    /// Publishes to the client with QoS 1.
    pub(super) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        let id = self.next_id.to_be_bytes();
        self.next_id += 1;
        self.write(0x32, &[&length[..], topic.as_bytes(), &id, &[0], payload].concat())
            .await;
    }

    /// Bytes that are no packet.
    pub(super) async fn garbage(&mut self) {
        self.stream
            .write_all(&[0xF7, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
            .await
            .unwrap();
    }

    async fn write(&mut self, first: u8, body: &[u8]) {
        let mut bytes = vec![first];
        let mut length = body.len();
        loop {
            let low = u8::try_from(length % 128).unwrap();
            length /= 128;
            bytes.push(if length > 0 { low | 128 } else { low });
            if length == 0 {
                break;
            }
        }
        bytes.extend_from_slice(body);
        // The client may have gone meanwhile; then the test finds that out by reading.
        self.stream.write_all(&bytes).await.ok();
    }

    async fn packet(&mut self) -> Option<Packet> {
        timeout(PATIENCE, async {
            let first = self.stream.read_u8().await.ok()?;
            let mut length = 0_usize;
            for shift in [0, 7, 14, 21] {
                let byte = self.stream.read_u8().await.ok()?;
                length |= usize::from(byte & 127) << shift;
                if byte & 128 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Packet {
                kind: first >> 4,
                flags: first & 15,
                body,
            })
        })
        .await
        .expect("the client says nothing")
    }
}

struct Cursor<'b>(&'b [u8]);

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn binary(&mut self) -> Vec<u8> {
        let length = self.short();
        self.take(usize::from(length)).to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).unwrap()
    }

    /// Skips properties; none of ours is longer than 127 bytes.
    fn properties(&mut self) {
        let length = self.byte();
        assert!(length < 128);
        self.take(usize::from(length));
    }
}
