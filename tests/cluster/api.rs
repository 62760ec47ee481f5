//! What stories ask the API server for, in this process: they look ten times a second, and for each
//! look a `kubectl` would take a tenth of a second of a processor.
//!
//! Reads only; what a user does, stories do with kubectl. Nothing is kept from one read to the
//! next: the API server that was asked before may be dead.

use std::thread::sleep;
use std::time::Duration;

use hyper::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use serde_json::Value;

use crate::cluster::Cluster;

/// How often a connection may break, and how long to wait then.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Where the API server has each kind of object, before `namespaces` or the kind's name.
pub(crate) const CORE: &str = "/api/v1";
pub(crate) const APPS: &str = "/apis/apps/v1";
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1";
pub(crate) const POLICY: &str = "/apis/policy/v1";
pub(crate) const RIGHTS: &str = "/apis/rbac.authorization.k8s.io/v1";
pub(crate) const REMEMBER: &str = "/apis/remember.krest.io/v1alpha1";

/// The path of the objects of a kind in a namespace, or of one of them: `pods` or `pods/hello-0`.
pub(crate) fn path(group: &str, namespace: &str, objects: &str) -> String {
    format!("{group}/namespaces/{namespace}/{objects}")
}

impl Cluster {
    /// What is at this path; `None` if nothing is.
    pub(crate) fn find(&self, path: &str) -> Option<Value> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.read(path) {
                Ok(found) => return Some(found),
                Err(Error::Api(status)) if status.code == 404 => return None,
                // kubectl asks again as well where a connection breaks.
                Err(error) if attempts == ATTEMPTS || matches!(error, Error::Api(_)) => {
                    panic!("{path} on the cluster {}: {error}", self.name)
                }
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// What is at this path, where something must be.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let found = self.find(path);
        found.unwrap_or_else(|| panic!("{path} is not on the cluster {}", self.name))
    }

    /// All objects at this path, of those with this label, `name=value`, if one is given.
    pub(crate) fn list(&self, path: &str, label: Option<&str>) -> Vec<Value> {
        let query = label.map(|label| {
            let label = label.replace('/', "%2F").replace('=', "%3D");
            format!("?labelSelector={label}")
        });
        let mut list = self.ask(&format!("{path}{}", query.unwrap_or_default()));
        let Value::Array(items) = list["items"].take() else {
            panic!("{path} is no list: {list}");
        };
        items
    }

    /// Whether the API server answers, and says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.read_text("/readyz").is_ok()
    }

    fn read(&self, path: &str) -> Result<Value, Error> {
        let text = self.read_text(path)?;
        serde_json::from_str(&text).map_err(Error::SerdeError)
    }

    fn read_text(&self, path: &str) -> Result<String, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let file = self.directory().join("kubeconfig");
            let file = Kubeconfig::read_from(file).expect("the kubeconfig of the cluster");
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            let mut config = config.expect("a whole kubeconfig");
            // This machine's way to the world is none to an address of its own.
            config.proxy_url = None;
            let client = Client::try_from(config)?;
            let request = Request::get(path).body(Vec::new());
            client.request_text(request.expect("a path")).await
        })
    }
}
