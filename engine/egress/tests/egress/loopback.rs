//! Partners to talk to, and the engine's side of the talk.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use engate_egress::{Egress, EgressConfig, Lookup, Outbound};
use engate_model::endpoint::Auth;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A request as the bytes that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// Every value of a header, its name in any case.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let matching = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }
}

/// What a partner does with a request.
pub(crate) enum Reply {
    /// Writes the bytes and keeps the connection.
    Keep(Vec<u8>),
    /// Writes the bytes and closes.
    Close(Vec<u8>),
    /// Writes the first bytes, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Writes the first bytes, then one byte every few milliseconds.
    Drip(Vec<u8>),
    /// Says nothing and holds the connection.
    Hang,
}

/// A partner on the loopback interface. What it saw comes through `seen`.
pub(crate) struct Partner {
    pub(crate) address: SocketAddr,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    /// Gets a word each time the partner closed a connection.
    pub(crate) closed: mpsc::UnboundedReceiver<()>,
    connections: Arc<AtomicUsize>,
}

impl Partner {
    pub(crate) async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (saw, seen) = mpsc::unbounded_channel();
        let (closing, closed) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, reply) = (Arc::clone(&connections), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (saw, closing, reply) = (saw.clone(), closing.clone(), Arc::clone(&reply));
                tokio::spawn(async move {
                    let _ = converse(stream, &saw, &*reply).await;
                    let _ = closing.send(());
                });
            }
        });
        Self { address, seen, closed, connections }
    }

    /// A partner that answers every request with 200.
    pub(crate) async fn obliging() -> Self {
        Self::start(|_| Reply::Keep(ok("taken"))).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn converse(
    mut stream: TcpStream,
    saw: &mpsc::UnboundedSender<Seen>,
    reply: &(dyn Fn(&Seen) -> Reply + Send + Sync),
) -> io::Result<()> {
    while let Some(request) = read_request(&mut stream).await? {
        let reply = reply(&request);
        let _ = saw.send(request);
        match reply {
            Reply::Keep(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => return stream.write_all(&bytes).await,
            Reply::Endless(first, again) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                }
            }
            Reply::Drip(first) => {
                stream.write_all(&first).await?;
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    stream.write_all(b".").await?;
                }
            }
            Reply::Hang => std::future::pending().await,
        }
    }
    Ok(())
}

/// Reads one request with a body of known length; none at the end of the connection.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end + 4);
    bytes.truncate(end);
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let headers: Vec<_> = lines
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            (String::from_utf8(line[..colon].to_vec()).unwrap(), line[colon..].strip_prefix(b": ").unwrap().to_vec())
        })
        .collect();
    let mut seen = Seen { line, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    seen.body = body;
    Ok(Some(seen))
}

/// A whole 200 response.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    with("200 OK", "", body.as_bytes())
}

/// A whole response; `headers` are lines, each with its end.
pub(crate) fn with(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Settings that let the loopback interface be called.
pub(crate) fn open() -> EgressConfig {
    EgressConfig {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        connect_timeout: Duration::from_secs(5),
        ..EgressConfig::default()
    }
}

pub(crate) fn egress() -> Egress {
    Egress::new(open()).unwrap()
}

/// A POST of a small JSON body, without auth and signature.
pub(crate) fn post(url: &str) -> Outbound<'_> {
    Outbound {
        method: "POST",
        url,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from_static(br#"{"n":1}"#),
        compress: false,
        auth: &Auth::None,
        sign: None,
        deadline: Duration::from_secs(20),
        response_bytes_max: 64 * 1024,
        http1_title_case: false,
    }
}

/// Name servers of a test: for each name the answers in order, the last one for ever.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn new(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parsed = answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect()).collect();
        let names = Self::default();
        names.answers.lock().unwrap().insert(name.to_owned(), parsed);
        Arc::new(names)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Lookup for Names {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut all = self.answers.lock().unwrap();
        let answer = match all.get_mut(host) {
            None => Err(io::Error::other("no such name")),
            Some(answers) if answers.len() > 1 => Ok(answers.pop_front().unwrap()),
            Some(answers) => Ok(answers.front().cloned().unwrap_or_default()),
        };
        Box::pin(std::future::ready(answer))
    }
}
