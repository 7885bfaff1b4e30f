//! The listener of the control interface: bounded connections, bounded lines, one answer for each line.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::protocol::{Command, MAX_LINE_BYTES, Refusal, Reply, parse};

/// Most connections at once. One more is told so and closed.
pub const MAX_CONNECTIONS: usize = 16;

/// A command on its way to the world, with the way back for its answer.
pub(crate) type Order = (Command, oneshot::Sender<Result<Reply, Refusal>>);

/// Serves control connections until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, orders: mpsc::Sender<Order>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // Reaps what has ended; cancel-safe.
            Some(_) = connections.join_next() => {}
            // Cancel-safe: a connection is either accepted or still in the backlog.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let full = connections.len() >= MAX_CONNECTIONS;
                    connections.spawn(connection(stream, peer, orders.clone(), full));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a control connection could not be accepted");
                    // Out of file descriptors: others have to end first.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, orders: mpsc::Sender<Order>, full: bool) {
    if let Err(error) = converse(stream, orders, full).await {
        tracing::debug!(peer = %peer, error = %error, "a control connection broke");
    }
}

async fn converse(stream: TcpStream, orders: mpsc::Sender<Order>, full: bool) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    if full {
        let refusal = Refusal::new(
            "too_many_connections",
            format!("at most {MAX_CONNECTIONS} control connections are served at once"),
        );
        return writing.write_all(&answer(&Value::Null, Err(refusal))).await;
    }
    let mut reading = BufReader::new(reading);
    while let Some(line) = read_line(&mut reading).await? {
        let answer = match line {
            Line::TooLong => {
                let message = format!("a line has at most {MAX_LINE_BYTES} bytes");
                answer(&Value::Null, Err(Refusal::new("line_too_long", message)))
            }
            Line::Whole(line) if line.trim_ascii().is_empty() => continue,
            Line::Whole(line) => {
                let (id, command) = parse(&line);
                let result = match command {
                    Ok(command) => order(&orders, command).await,
                    Err(refusal) => Err(refusal),
                };
                answer(&id, result)
            }
        };
        writing.write_all(&answer).await?;
    }
    Ok(())
}

async fn order(orders: &mpsc::Sender<Order>, command: Command) -> Result<Reply, Refusal> {
    let stopping = || Refusal::new("stopping", "the simulator is stopping");
    let (answer, answered) = oneshot::channel();
    orders.send((command, answer)).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?
}

fn answer(id: &Value, result: Result<Reply, Refusal>) -> Vec<u8> {
    let value = match result {
        Ok(reply) => json!({ "id": id, "ok": true, "result": reply }),
        Err(refusal) => json!({ "id": id, "ok": false, "error": refusal }),
    };
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Reads up to a newline, or to the end. What is too long is read to its end and thrown away, so that the next line
/// is a line again.
async fn read_line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(match (too_long, line.is_empty()) {
                (true, _) => Some(Line::TooLong),
                (false, true) => None,
                (false, false) => Some(Line::Whole(line)),
            });
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..newline.unwrap_or(buffer.len())).unwrap_or(buffer);
        too_long |= line.len() + part.len() > MAX_LINE_BYTES;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        reader.consume(used);
        if newline.is_some() {
            return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_a_long_one_does_not_spoil_the_next() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 1];
        text.extend_from_slice(b"\nshort\n");
        text.extend(vec![b'y'; MAX_LINE_BYTES]);
        let mut reader = BufReader::new(text.as_slice());
        assert!(matches!(read_line(&mut reader).await.unwrap(), Some(Line::TooLong)));
        assert!(matches!(read_line(&mut reader).await.unwrap(), Some(Line::Whole(line)) if line == b"short"));
        let longest = read_line(&mut reader).await.unwrap();
        assert!(matches!(longest, Some(Line::Whole(line)) if line.len() == MAX_LINE_BYTES));
        assert!(read_line(&mut reader).await.unwrap().is_none());
    }
}
