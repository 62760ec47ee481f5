//! `remember certs`: an authority and certificates, for machines without Kubernetes.
//!
//! What is there is never written over, and a file is readable by its owner alone.

use std::fs::{DirBuilder, OpenOptions, read_to_string};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::exit::{Exit, say};
use crate::consensus::NodeId;
use crate::tls::{Authority, ClusterName, Issued, MemberName, Subject};
use crate::wire::limits::NODE_ID_MAX;

/// What the files of the authority are called.
const AUTHORITY: &str = "ca";

/// Where every member can be reached by clients on its own machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes certificates for mutual TLS.
///
/// Writes an authority, and certificates with their keys that it has signed. Run it again to add
/// more: the authority is then the one that is there. Nothing is ever written over. Keep ca.key to
/// yourself: no node needs it.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Certs {
    /// The directory to write to; made if it is not there
    dir: PathBuf,
    /// What the certificates call the cluster; two clusters of one authority need two names
    #[arg(long, value_name = "NAME", default_value = "main")]
    cluster: ClusterName,
    /// The ids of members to make a certificate for, as member-ID.crt and member-ID.key
    #[arg(long = "member", value_name = "ID", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=NODE_ID_MAX))]
    members: Vec<u64>,
    /// Names and addresses by which clients reach these members, beside those of loopback
    #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// The names of clients to make a certificate for, as NAME.crt and NAME.key
    #[arg(long = "client", value_name = "NAME", value_delimiter = ',', value_parser = client)]
    clients: Vec<String>,
    /// How many days they are valid; the authority is for ten years
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
}

/// A name that can be that of a file, and of no other here.
fn client(name: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_taken = name == AUTHORITY || name.starts_with("member-");
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) || is_taken {
        return Err("it is a name of up to 64 letters, digits, - and _".to_owned());
    }
    Ok(name.to_owned())
}

impl Certs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let lifetime = Duration::from_hours(24 * u64::from(self.days));
        let folder = Folder::open(&self.dir)?;
        let members = self.members.iter();
        let members = members.map(|id| member(&self.cluster, *id, &self.hosts));
        let clients = self.clients.iter();
        let clients = clients.map(|name| (name.clone(), Subject::Client(name.clone())));
        let wanted: Vec<_> = members.chain(clients).collect();
        for (stem, _) in &wanted {
            for path in folder.paths(stem) {
                ensure!(
                    !path.exists(),
                    "{} is there already, so nothing was written; remove it, or use another \
                     directory",
                    path.display()
                );
            }
        }
        let authority = folder.authority()?;
        for (stem, subject) in &wanted {
            folder.write(stem, &authority.issue(subject, lifetime)?)?;
        }
        Ok(Exit::Done)
    }
}

fn member(cluster: &ClusterName, id: u64, hosts: &[String]) -> (String, Subject) {
    let name = MemberName {
        cluster: cluster.clone(),
        id: NodeId(id),
    };
    let loopback = LOOPBACK.iter().map(|host| (*host).to_owned());
    let hosts = loopback.chain(hosts.iter().cloned()).collect();
    (member_stem(id), Subject::Member { name, hosts })
}

/// What the files of a member are called.
pub(super) fn member_stem(id: u64) -> String {
    format!("member-{id}")
}

/// Makes what is missing for the members `1..=nodes` of a cluster and one client, `client`.
pub(super) fn provide(dir: &Path, cluster: &ClusterName, nodes: u8) -> anyhow::Result<()> {
    let folder = Folder::open(dir)?;
    let authority = folder.authority()?;
    let members = (1..=u64::from(nodes)).map(|id| member(cluster, id, &[]));
    let client = ("client".to_owned(), Subject::Client("client".to_owned()));
    for (stem, subject) in members.chain([client]) {
        if !folder.paths(&stem).iter().all(|path| path.exists()) {
            let lifetime = Duration::from_hours(24 * 365);
            folder.write(&stem, &authority.issue(&subject, lifetime)?)?;
        }
    }
    Ok(())
}

/// Where certificates and keys are kept.
struct Folder<'a>(&'a Path);

impl<'a> Folder<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// A certificate and its key.
    fn paths(&self, stem: &str) -> [PathBuf; 2] {
        ["crt", "key"].map(|ending| self.0.join(format!("{stem}.{ending}")))
    }

    /// The authority that is there, or a new one.
    fn authority(&self) -> anyhow::Result<Authority> {
        let [certificate, key] = self.paths(AUTHORITY);
        if !certificate.exists() && !key.exists() {
            let (authority, issued) = Authority::make()?;
            self.write(AUTHORITY, &issued)?;
            return Ok(authority);
        }
        let read = |path: &Path| {
            let text = read_to_string(path);
            text.with_context(|| format!("cannot read the authority's {}", path.display()))
        };
        let opened = Authority::open(&read(&certificate)?, &read(&key)?);
        opened.with_context(|| format!("{} cannot sign", certificate.display()))
    }

    fn write(&self, stem: &str, issued: &Issued) -> anyhow::Result<()> {
        let [certificate, key] = self.paths(stem);
        // The key first: a certificate without it would look as if all were there.
        for (path, text) in [(key, &issued.key), (certificate, &issued.certificate)] {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
            written.with_context(|| format!("cannot write {}", path.display()))?;
            say(&format!("wrote {}", path.display()));
        }
        Ok(())
    }
}
