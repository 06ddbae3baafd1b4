//! A real server on loopback, which answers as a test says and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a server answers; `None` keeps silent.
type Answers = Arc<dyn Fn() -> Option<Answer> + Send + Sync>;

impl Server {
    pub(crate) async fn http(answers: impl Fn() -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answers)).await
    }

    /// With a certificate for `localhost`, which speaks these protocols; gives the certificate of who signed it.
    pub(crate) async fn https(
        protocols: &[&str],
        answers: impl Fn() -> Option<Answer> + Send + Sync + 'static,
    ) -> (Self, String) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let tls = TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(tls), Arc::new(answers)).await, pem)
    }

    async fn start(tls: Option<TlsAcceptor>, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, noted, answers) = (tls.clone(), Arc::clone(&noted), Arc::clone(&answers));
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, noted, answers).await,
                        // Who doesn't trust it hangs up.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, noted, answers).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/fasti?a=b", self.address)
    }

    /// By the name that the certificate is for.
    pub(crate) fn https_url(&self) -> String {
        format!("https://localhost:{}/fasti", self.address.port())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    noted: Arc<Mutex<Vec<Asked>>>,
    answers: Answers,
) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (noted, answers) = (Arc::clone(&noted), Arc::clone(&answers));
        async move {
            let (it, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (method, uri, version, headers) = (it.method, it.uri, it.version, it.headers);
            noted.lock().unwrap().push(Asked { method, uri, version, headers, body });
            match answers() {
                Some(answer) => Ok::<_, Infallible>(answer),
                None => std::future::pending().await,
            }
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into()).boxed()).unwrap()
}

/// A body that begins and never ends.
pub(crate) fn endless(status: u16, beginning: &'static str) -> Answer {
    struct Endless(Option<Bytes>);
    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(bytes) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(bytes)))),
                None => std::task::Poll::Pending,
            }
        }
    }
    let body = Endless(Some(Bytes::from_static(beginning.as_bytes())));
    Response::builder().status(status).body(body.boxed()).unwrap()
}

/// A time that a test waits for at most, where it waits for another process.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
