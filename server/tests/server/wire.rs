//! MQTT 5 by hand, for exact codes and timing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long a test watches for what must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// A CONNECT packet to be.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<(String, Vec<u8>)>,
    pub(crate) properties: Vec<u8>,
}

impl Connect {
    pub(crate) fn of(gateway: impl ToString, password: impl Into<Vec<u8>>) -> Self {
        let id = gateway.to_string();
        Self {
            version: 5,
            client_id: id.clone(),
            user_name: Some(id),
            password: Some(password.into()),
            keep_alive: 30,
            will: None,
            properties: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = 0x02_u8;
        let mut body = text("MQTT");
        let mut rest = text(&self.client_id);
        if let Some((topic, message)) = &self.will {
            // Will flag, QoS 1, retained.
            flags |= 0x04 | 0x08 | 0x20;
            rest.push(0);
            rest.extend(text(topic));
            rest.extend(binary(message));
        }
        if let Some(name) = &self.user_name {
            flags |= 0x80;
            rest.extend(text(name));
        }
        if let Some(password) = &self.password {
            flags |= 0x40;
            rest.extend(binary(password));
        }
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            body.extend(variable(self.properties.len()));
            body.extend(&self.properties);
        }
        body.extend(rest);
        packet(0x10, &body)
    }
}

pub(crate) fn publish(qos: u8, retain: bool, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(0);
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub(crate) fn subscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    for filter in filters {
        body.extend(text(filter));
        body.push(1);
    }
    packet(0x82, &body)
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub(crate) fn disconnect(reason: u8) -> Vec<u8> {
    packet(0xe0, &[reason, 0])
}

pub(crate) const PING: [u8; 2] = [0xc0, 0];

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

pub(crate) fn variable(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return bytes;
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

/// What the server sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Connack {
        code: u8,
        body: Vec<u8>,
    },
    Puback {
        id: u16,
        code: u8,
        reason: String,
    },
    Suback {
        codes: Vec<u8>,
    },
    Publish {
        topic: String,
        id: u16,
        retain: bool,
        payload: Vec<u8>,
    },
    Pingresp,
    Disconnect {
        code: u8,
    },
    Other(u8),
    /// The connection is closed.
    Closed,
}

/// One connection.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Connects and is let in.
    pub(crate) async fn enter(address: SocketAddr, connect: &Connect) -> Self {
        let mut wire = Self::open(address).await;
        wire.send(&connect.bytes()).await;
        match wire.hear().await {
            Heard::Connack { code: 0, .. } => wire,
            other => panic!("not let in: {other:?}"),
        }
    }

    /// A server that has closed the connection already is found out by the next [`hear`](Self::hear).
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes).await);
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.next())
            .await
            .expect("the server says something in time")
    }

    /// Asserts that nothing comes for a while.
    pub(crate) async fn hears_nothing(&mut self) {
        if let Ok(heard) = tokio::time::timeout(QUIET, self.next()).await {
            panic!("unexpected: {heard:?}");
        }
    }

    /// Hears until the connection is closed; the code of the DISCONNECT, if there was one.
    pub(crate) async fn hear_the_end(&mut self) -> Option<u8> {
        let mut end = None;
        loop {
            match self.hear().await {
                Heard::Closed => return end,
                Heard::Disconnect { code } => end = Some(code),
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Heard {
        let Ok(kind) = self.0.read_u8().await else {
            return Heard::Closed;
        };
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let Ok(byte) = self.0.read_u8().await else {
                return Heard::Closed;
            };
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        if self.0.read_exact(&mut body).await.is_err() {
            return Heard::Closed;
        }
        decode(kind, body)
    }
}

fn decode(kind: u8, body: Vec<u8>) -> Heard {
    match kind >> 4 {
        2 => Heard::Connack { code: body[1], body },
        3 => {
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
            let mut at = 2 + length;
            let mut id = 0;
            if kind & 0x06 != 0 {
                id = u16::from_be_bytes([body[at], body[at + 1]]);
                at += 2;
            }
            // Properties of ours are shorter than 128 bytes.
            at += 1 + usize::from(body[at]);
            Heard::Publish {
                topic,
                id,
                retain: kind & 1 == 1,
                payload: body[at..].to_vec(),
            }
        }
        4 => {
            let id = u16::from_be_bytes([body[0], body[1]]);
            let code = body.get(2).copied().unwrap_or(0);
            let reason = body.get(4..).map_or_else(String::new, |properties| {
                // 0x1f: reason string.
                if properties.first() == Some(&0x1f) {
                    String::from_utf8_lossy(&properties[3..]).into_owned()
                } else {
                    String::new()
                }
            });
            Heard::Puback { id, code, reason }
        }
        9 => {
            let at = 3 + usize::from(body[2]);
            Heard::Suback {
                codes: body[at..].to_vec(),
            }
        }
        13 => Heard::Pingresp,
        14 => Heard::Disconnect {
            code: body.first().copied().unwrap_or(0),
        },
        other => Heard::Other(other),
    }
}
