//! Whether a cluster can be built at all. The API server has refused most mistakes already (R6),
//! but not those in specs that are older than its rules, nor what no rule of its can see. What
//! remains after this is for the API server itself to say, when it is asked to try the objects.

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::certificates::cluster_name;
use crate::crd::{
    ADMIN_PORT, GROUP, NAME_LENGTH_MAX, PEER_PORT, RememberCluster, SIDECAR, ServicePort,
    VOLUME_PREFIX, authority_secret, tls_secret,
};

/// The fewest and the most members of a cluster.
const REPLICAS: std::ops::RangeInclusive<i32> = 1..=9;
/// How often a leader may beat, in milliseconds, and how long it may be missed.
const HEARTBEAT_MS: std::ops::RangeInclusive<i32> = 10..=10_000;
const TIMEOUT_MS: std::ops::RangeInclusive<i32> = 100..=60_000;
/// The numbers that a port may have.
const PORTS: std::ops::RangeInclusive<i32> = 1..=65_535;
/// The shortest time that a pod may be given to end: a leader hands over in it (R9).
const GRACE_SECONDS_MIN: i64 = 5;

/// Why a cluster cannot be built: a person has to mend its spec.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// In one word, as conditions and events have it.
    pub reason: &'static str,
    /// What is wrong and how to mend it.
    pub sentence: String,
}

/// Looks for the first mistake.
pub fn validate(cluster: &RememberCluster) -> Result<(), Refusal> {
    name(cluster)?;
    numbers(cluster)?;
    pair(cluster)?;
    storage(cluster)?;
    for port in &cluster.spec.service.ports {
        service_port(port, &cluster.spec.service.ports)?;
    }
    let image = cluster.spec.sidecar.image.as_deref();
    demand(
        image.is_none_or(|image| !image.trim().is_empty()),
        "SidecarInvalid",
        || "spec.sidecar.image is empty; give an image, or remove it".to_owned(),
    )?;
    let pod = cluster.spec.template.pod().map_err(|error| Refusal {
        reason: "TemplateInvalid",
        sentence: format!("{error}; correct it"),
    })?;
    template(&pod)?;
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    keys(
        pod.spec.as_ref(),
        &[authority_secret(name), tls_secret(name)],
    )
}

fn demand(
    is_met: bool,
    reason: &'static str,
    sentence: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    if is_met {
        return Ok(());
    }
    let sentence = sentence();
    Err(Refusal { reason, sentence })
}

fn name(cluster: &RememberCluster) -> Result<(), Refusal> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = name.len() <= NAME_LENGTH_MAX && name.bytes().all(is_plain);
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    demand(
        fits && begins && !name.ends_with('-'),
        "NameInvalid",
        || {
            format!(
                "metadata.name \"{name}\" cannot begin the names of Services and pods; make the \
             cluster anew under a name that begins with a small letter, ends with a small letter \
             or a digit, and has at most {NAME_LENGTH_MAX} of those and '-'"
            )
        },
    )?;
    demand(name != "default", "NameInvalid", || {
        "metadata.name is \"default\", as the ServiceAccount of all pods of the namespace is \
         called, and the cluster's own would take its place; make the cluster anew under \
         another name"
            .to_owned()
    })?;
    // With a namespace as Kubernetes has them this cannot fail.
    cluster_name(cluster).map(drop).map_err(|error| Refusal {
        reason: "NameInvalid",
        sentence: format!("no certificate can name the cluster: {error}"),
    })
}

fn numbers(cluster: &RememberCluster) -> Result<(), Refusal> {
    let (replicas, election) = (cluster.spec.replicas, &cluster.spec.election);
    demand(REPLICAS.contains(&replicas), "ReplicasInvalid", || {
        let (least, most) = (REPLICAS.start(), REPLICAS.end());
        format!("spec.replicas is {replicas}; give a number from {least} to {most}")
    })?;
    let (beat, timeout) = (election.heartbeat_ms, election.timeout_ms);
    let fits = HEARTBEAT_MS.contains(&beat) && TIMEOUT_MS.contains(&timeout);
    demand(fits && timeout >= 3 * beat, "ElectionInvalid", || {
        format!(
            "spec.election has heartbeatMs {beat} and timeoutMs {timeout}; give {} to {} and {} to \
             {}, and timeoutMs at least three times heartbeatMs",
            HEARTBEAT_MS.start(),
            HEARTBEAT_MS.end(),
            TIMEOUT_MS.start(),
            TIMEOUT_MS.end(),
        )
    })
}

fn pair(cluster: &RememberCluster) -> Result<(), Refusal> {
    let survives = cluster.spec.replicas != 2 || cluster.spec.witness.is_some();
    demand(survives, "ReplicasInvalid", || {
        "spec.replicas is 2 without spec.witness: two members need both votes, as three need two, \
         and then none may be lost; add witness: ConfigMap, which lets either go on without the \
         other, or choose 1 or 3"
            .to_owned()
    })
}

fn storage(cluster: &RememberCluster) -> Result<(), Refusal> {
    let Some(storage) = &cluster.spec.storage else {
        return Ok(());
    };
    demand(is_amount(&storage.size), "StorageInvalid", || {
        let size = &storage.size.0;
        format!("spec.storage.size is \"{size}\"; give an amount of bytes above 0, such as 1Gi")
    })?;
    let class = storage.storage_class_name.as_deref();
    demand(class != Some(""), "StorageInvalid", || {
        "spec.storage.storageClassName is empty, and no such class provides volumes; name one, or \
         remove it for the default class"
            .to_owned()
    })
}

/// Whether it is an amount above 0: a number, and a suffix or an exponent.
fn is_amount(quantity: &Quantity) -> bool {
    const SUFFIXES: [&str; 16] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let text = quantity.0.strip_prefix('+').unwrap_or(&quantity.0);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let exponent = suffix.strip_prefix(['e', 'E']);
    let ends_well = SUFFIXES.contains(&suffix)
        || exponent.is_some_and(|exponent| exponent.parse::<i8>().is_ok());
    let is_above_0 = number.bytes().any(|digit| digit != b'0' && digit != b'.');
    ends_well && is_above_0 && number.bytes().filter(|byte| *byte == b'.').count() <= 1
}

fn is_ours(port: i32) -> bool {
    (i32::from(PEER_PORT)..=i32::from(ADMIN_PORT)).contains(&port)
}

fn service_port(port: &ServicePort, all: &[ServicePort]) -> Result<(), Refusal> {
    let target = port.target_port.unwrap_or(port.port);
    let name = &port.name;
    let refuse = |is_met, sentence: &str| {
        demand(is_met, "ServiceInvalid", || {
            format!("spec.service.ports, \"{name}\": {sentence}")
        })
    };
    let is_number = PORTS.contains(&port.port) && PORTS.contains(&target);
    refuse(is_number, "port and targetPort must be from 1 to 65535")?;
    let sentence = format!(
        "it leads to port {target}, but on {PEER_PORT} to {ADMIN_PORT} the sidecar of each pod \
         listens; lead it to a port of your application by targetPort"
    );
    refuse(!is_ours(target), &sentence)?;
    let same = all
        .iter()
        .filter(|other| other.name == *name || other.port == port.port);
    let sentence = "another has the same name or the same port; give it its own";
    refuse(same.count() == 1, sentence)
}

/// What the user's pod must leave to the sidecar and to the operator.
fn template(template: &PodTemplateSpec) -> Result<(), Refusal> {
    let refuse = |is_met, sentence: &str| {
        demand(is_met, "TemplateInvalid", || {
            format!("spec.template{sentence}")
        })
    };
    let metadata = template.metadata.as_ref();
    let labels = metadata.and_then(|metadata| metadata.labels.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    for (place, texts) in [("labels", labels), ("annotations", annotations)] {
        let ours = |key: &String| {
            key.split_once('/')
                .is_some_and(|(prefix, _)| prefix == GROUP)
        };
        let ours = texts.and_then(|texts| texts.keys().find(|key| ours(key)));
        let key = ours.map_or("", String::as_str);
        let sentence = format!(
            ".metadata.{place} has {key}: such say who leads, and only the operator may set them; \
             remove it"
        );
        refuse(ours.is_none(), &sentence)?;
    }
    let Some(spec) = &template.spec else {
        return refuse(false, ".spec is missing; describe your pod there");
    };
    let is_run = !spec.containers.is_empty();
    refuse(is_run, ".spec.containers is empty; give your application")?;
    for one in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        container(one)?;
    }
    pod(spec)
}

fn pod(spec: &PodSpec) -> Result<(), Refusal> {
    let refuse = |is_met, sentence: &str| {
        demand(is_met, "TemplateInvalid", || {
            format!("spec.template.spec.{sentence}")
        })
    };
    let mut volumes = spec.volumes.iter().flatten();
    let taken = volumes.find(|volume| volume.name.starts_with(VOLUME_PREFIX));
    let name = taken.map_or("", |volume| &volume.name);
    let sentence = format!(
        "volumes has {name}, but names that begin with '{VOLUME_PREFIX}' are the sidecar's; choose \
         another one"
    );
    refuse(taken.is_none(), &sentence)?;
    refuse(
        spec.host_network != Some(true),
        "hostNetwork is true: two pods on one machine would take each other's ports; remove it",
    )?;
    for (is_shared, field) in [
        (spec.share_process_namespace, "shareProcessNamespace"),
        (spec.host_pid, "hostPID"),
    ] {
        let sentence = format!(
            "{field} is true: your application could read the sidecar's keys and votes by /proc; \
             remove it"
        );
        refuse(is_shared != Some(true), &sentence)?;
    }
    let restarts = spec.restart_policy.as_deref();
    refuse(
        restarts.is_none_or(|policy| policy == "Always"),
        "restartPolicy must be Always, as in every StatefulSet; remove it",
    )?;
    let grace = spec.termination_grace_period_seconds;
    let sentence = format!(
        "terminationGracePeriodSeconds must be at least {GRACE_SECONDS_MIN}: a leader hands over \
         before its pod ends; raise or remove it"
    );
    refuse(
        grace.is_none_or(|grace| grace >= GRACE_SECONDS_MIN),
        &sentence,
    )
}

fn container(container: &Container) -> Result<(), Refusal> {
    let name = &container.name;
    let refuse = |is_met, sentence: &str| {
        demand(is_met, "TemplateInvalid", || {
            format!("spec.template, container \"{name}\": {sentence}")
        })
    };
    refuse(
        name != SIDECAR,
        "the sidecar is called so; choose another name",
    )?;
    let mut ports = container.ports.iter().flatten();
    let taken = ports.find(|port| is_ours(port.container_port));
    let sentence = format!(
        "on the ports from {PEER_PORT} to {ADMIN_PORT} the sidecar of each pod listens; use others"
    );
    refuse(taken.is_none(), &sentence)?;
    // The API server could not tell: the volume is there once the sidecar is (R11).
    let mut mounts = container.volume_mounts.iter().flatten();
    let taken = mounts.find(|mount| mount.name.starts_with(VOLUME_PREFIX));
    let sentence = format!(
        "it mounts a volume that begins with '{VOLUME_PREFIX}': keys and votes are in those, for \
         the sidecar alone; mount another"
    );
    refuse(taken.is_none(), &sentence)
}

/// That the user's containers get none of these Secrets, in which the cluster's own keys are: who
/// has those is a node to all others. No rule of the API server could tell, as none sees the name
/// of the cluster from within the template.
fn keys(spec: Option<&PodSpec>, secrets: &[String; 2]) -> Result<(), Refusal> {
    let refuse = |place: &str, secret: Option<&str>| {
        let ours = secret.filter(|secret| secrets.iter().any(|ours| ours == secret));
        let secret = ours.unwrap_or_default();
        demand(ours.is_none(), "TemplateInvalid", || {
            format!(
                "spec.template, {place} takes the Secret {secret}: the cluster's own keys are in \
                 it, for the sidecar and the operator alone; remove it, or use a Secret of yours"
            )
        })
    };
    let Some(spec) = spec else { return Ok(()) };
    for volume in spec.volumes.iter().flatten() {
        let place = format!("volume \"{}\"", volume.name);
        for secret in secrets_of(volume) {
            refuse(&place, Some(secret))?;
        }
    }
    let inits = spec.init_containers.iter().flatten();
    for container in spec.containers.iter().chain(inits) {
        for from in container.env_from.iter().flatten() {
            let place = format!("envFrom of container \"{}\"", container.name);
            refuse(
                &place,
                from.secret_ref.as_ref().map(|secret| secret.name.as_str()),
            )?;
        }
        for variable in container.env.iter().flatten() {
            let place = format!("env of container \"{}\"", container.name);
            let source = variable.value_from.as_ref();
            let key = source.and_then(|source| source.secret_key_ref.as_ref());
            refuse(&place, key.map(|key| key.name.as_str()))?;
        }
    }
    Ok(())
}

/// The Secrets whose content is in a volume.
fn secrets_of(volume: &Volume) -> impl Iterator<Item = &str> {
    let whole = volume.secret.iter();
    let whole = whole.filter_map(|secret| secret.secret_name.as_deref());
    let projected = volume
        .projected
        .iter()
        .flat_map(|all| &all.sources)
        .flatten();
    let parts = projected.filter_map(|source| Some(source.secret.as_ref()?.name.as_str()));
    whole.chain(parts)
}

#[cfg(test)]
#[path = "validate_test.rs"]
mod tests;
