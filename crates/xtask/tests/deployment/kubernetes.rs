//! The manifests for Kubernetes: against its schemas, against each other, and against the gateway,
//! which is run with what they give it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use chat_test_support::run;
use serde_json::Value;

use super::service::Service;
use super::{DEADLINE, changed, differences, gateway, output_of, read_yaml, workspace};

/// For how long draining takes at most: docs/configuration.md, Signals.
pub(super) const DRAINING: u64 = 10;

/// Everything but the kustomizations, which kubectl reads itself, and resources of others.
const MANIFESTS: [&str; 7] = [
    "deployment.yaml",
    "service.yaml",
    "ingress.yaml",
    "poddisruptionbudget.yaml",
    "networkpolicy.yaml",
    "autoscaling/horizontalpodautoscaler.yaml",
    "secret.example.yaml",
];

fn folder() -> PathBuf {
    workspace().join("deploy/kubernetes")
}

/// All manifests, by kind.
struct Manifests(BTreeMap<String, Value>);

impl Manifests {
    fn read() -> Self {
        let kustomizations = ["kustomization.yaml", "monitoring/servicemonitor.yaml"];
        let files = MANIFESTS.iter().chain(&kustomizations);
        let files: Vec<_> = files.map(|file| folder().join(file)).collect();
        let documents = read_yaml(&files).into_iter();
        let kinds = documents.map(|it| (it["kind"].as_str().unwrap().to_owned(), it));
        Self(kinds.collect())
    }

    /// Returns a part of the one manifest of this kind, which must exist.
    fn get(&self, kind: &str, pointer: &str) -> &Value {
        let found = self.0[kind].pointer(pointer);
        found.unwrap_or_else(|| panic!("{kind} has no {pointer}"))
    }

    fn pod(&self, pointer: &str) -> &Value {
        self.get("Deployment", &format!("/spec/template{pointer}"))
    }

    /// Returns the environment that the gateway gets from the config map and from literals.
    fn environment(&self) -> BTreeMap<String, String> {
        let literals = self.get("Kustomization", "/configMapGenerator/0/literals");
        let literals = literals.as_array().unwrap().iter().map(|literal| {
            let (name, value) = literal.as_str().unwrap().split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let mut environment: BTreeMap<_, _> = literals.collect();
        for variable in self.pod("/spec/containers/0/env").as_array().unwrap() {
            if let Some(value) = variable["value"].as_str() {
                environment.insert(text(&variable["name"]), value.to_owned());
            }
        }
        environment
    }

    /// Returns the names of the settings that are in the secret, and their keys there.
    fn secrets(&self, container: &str) -> BTreeMap<String, String> {
        let variables = self.pod(&format!("{container}/env")).as_array().unwrap();
        let secrets = variables.iter().filter_map(|variable| {
            let reference = variable.pointer("/valueFrom/secretKeyRef")?;
            assert_eq!(reference["name"], *self.get("Secret", "/metadata/name"));
            Some((text(&variable["name"]), text(&reference["key"])))
        });
        secrets.collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn kubernetes_accepts_the_manifests_and_would_not_accept_an_unknown_field() {
    let files = MANIFESTS.map(|file| folder().join(file));
    assert_eq!(differences("kubernetes", &files), "");

    let copies = tempfile::tempdir().unwrap();
    let deployment = folder().join("deployment.yaml");
    let wrong = [
        ("minReadySeconds: 10", "minReadySecond: 10"),
        ("drop: [ALL]", "drops: [ALL]"),
        ("containerPort: 3001", "containerPort: http"),
    ];
    let wrong = wrong.map(|(from, to)| {
        let name = to.split(':').next().unwrap();
        let copy = copies.path().join(name);
        fs::create_dir(&copy).unwrap();
        changed(&copy, &deployment, from, to)
    });
    let found = differences("kubernetes", &wrong);
    for copy in wrong {
        assert!(found.contains(copy.to_str().unwrap()), "{found}");
    }
}

#[test]
fn the_kustomizations_name_the_manifests() {
    for (kustomization, is_base) in [
        ("kustomization.yaml", true),
        ("autoscaling/kustomization.yaml", false),
        ("monitoring/kustomization.yaml", false),
    ] {
        let file = folder().join(kustomization);
        let read = &read_yaml(std::slice::from_ref(&file))[0];
        for resource in read["resources"].as_array().unwrap() {
            let resource = file.with_file_name(text(resource));
            assert!(resource.exists(), "{}", resource.display());
            // A real secret would be overwritten by the example.
            assert!(!resource.ends_with("secret.example.yaml"));
        }
        assert_eq!(
            read["kind"],
            if is_base {
                "Kustomization"
            } else {
                "Component"
            }
        );
    }
    let manifests = Manifests::read();
    let image = manifests.get("Kustomization", "/images/0/name");
    assert_eq!(image, manifests.pod("/spec/containers/0/image"));
    assert_eq!(image, manifests.pod("/spec/initContainers/0/image"));
    let cargo = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let tag = text(manifests.get("Kustomization", "/images/0/newTag"));
    assert!(cargo.contains(&format!("\nversion = \"{tag}\"")), "{tag}");
    let map = manifests.pod("/spec/containers/0/envFrom/0/configMapRef/name");
    assert_eq!(
        map,
        manifests.get("Kustomization", "/configMapGenerator/0/name")
    );
}

#[test]
fn the_manifests_select_the_pods_and_their_port() {
    let manifests = Manifests::read();
    let labels = manifests.pod("/metadata/labels").as_object().unwrap();
    let spread = manifests
        .pod("/spec/topologySpreadConstraints")
        .as_array()
        .unwrap();
    let selectors = [
        manifests.get("Deployment", "/spec/selector/matchLabels"),
        manifests.get("Service", "/spec/selector"),
        manifests.get("PodDisruptionBudget", "/spec/selector/matchLabels"),
        manifests.get("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ];
    let spread = spread.iter().map(|it| &it["labelSelector"]["matchLabels"]);
    for selector in selectors.into_iter().chain(spread) {
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(labels.get(name), Some(value), "{selector}");
        }
    }
    let of_service = manifests.get("ServiceMonitor", "/spec/selector/matchLabels");
    assert_eq!(of_service, manifests.get("Service", "/metadata/labels"));

    let port = manifests.pod("/spec/containers/0/ports/0/name");
    assert_eq!(manifests.get("Service", "/spec/ports/0/targetPort"), port);
    assert_eq!(
        manifests.get("NetworkPolicy", "/spec/ingress/0/ports/0/port"),
        port
    );
    let service_port = manifests.get("Service", "/spec/ports/0/name");
    assert_eq!(
        manifests.get("ServiceMonitor", "/spec/endpoints/0/port"),
        service_port
    );
    let backend = "/spec/rules/0/http/paths/0/backend/service";
    let backend = manifests.get("Ingress", backend);
    assert_eq!(backend["port"]["name"], *service_port);
    assert_eq!(backend["name"], *manifests.get("Service", "/metadata/name"));
    assert_eq!(
        manifests.get("HorizontalPodAutoscaler", "/spec/scaleTargetRef/name"),
        manifests.get("Deployment", "/metadata/name")
    );
}

#[test]
fn a_pod_has_time_to_drain_and_one_stops_at_a_time() {
    let manifests = Manifests::read();
    let number = |value: &Value| value.as_u64().unwrap();
    let grace = number(manifests.pod("/spec/terminationGracePeriodSeconds"));
    let pre_stop = number(manifests.pod("/spec/containers/0/lifecycle/preStop/sleep/seconds"));
    assert!(grace >= pre_stop + DRAINING + 5, "{grace} {pre_stop}");

    assert_eq!(
        *manifests.get("Deployment", "/spec/strategy/rollingUpdate/maxUnavailable"),
        0
    );
    assert_eq!(
        *manifests.get("PodDisruptionBudget", "/spec/maxUnavailable"),
        1
    );
    let least = number(manifests.get("HorizontalPodAutoscaler", "/spec/minReplicas"));
    assert_eq!(least, number(manifests.get("Deployment", "/spec/replicas")));
    let down = manifests.get("HorizontalPodAutoscaler", "/spec/behavior/scaleDown");
    assert!(number(&down["stabilizationWindowSeconds"]) >= 600, "{down}");
    assert_eq!(down["policies"][0]["value"], 1);
    let read_timeout = "/metadata/annotations/nginx.ingress.kubernetes.io~1proxy-read-timeout";
    let read_timeout = text(manifests.get("Ingress", read_timeout));
    // Between two heartbeats: docs/protocol.md.
    assert!(read_timeout.parse::<u64>().unwrap() > 25);
}

#[test]
fn the_containers_have_no_privileges_and_the_images_user() {
    let manifests = Manifests::read();
    let pod = manifests.pod("/spec/securityContext");
    let image = fs::read_to_string(workspace().join("Dockerfile")).unwrap();
    let user = format!("USER {}:{}", pod["runAsUser"], pod["runAsGroup"]);
    assert!(image.lines().any(|line| line == user), "{user}");
    assert_eq!(pod["runAsNonRoot"], true);
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    for container in ["/spec/containers/0", "/spec/initContainers/0"] {
        let security = manifests.pod(&format!("{container}/securityContext"));
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        for limit in ["requests/cpu", "requests/memory", "limits/memory"] {
            manifests.pod(&format!("{container}/resources/{limit}"));
        }
    }
}

#[test]
fn the_gateway_runs_with_what_the_manifests_give_it() {
    let manifests = Manifests::read();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/chat.db", folder.path().display());
    let container = |container: &str| {
        let mut command = Command::new(gateway());
        let arguments = manifests
            .pod(&format!("{container}/args"))
            .as_array()
            .unwrap();
        command
            .args(arguments.iter().map(text))
            .env_clear()
            .env("DATABASE_URL", &database);
        command
    };

    // Every name is one of a setting, and each key is one of the secret.
    assert!(is_setting("PORT") && !is_setting("PORTS"));
    let environment = manifests.environment();
    let secrets = manifests.secrets("/spec/containers/0");
    let of_migration = manifests.secrets("/spec/initContainers/0");
    for name in environment
        .keys()
        .chain(secrets.keys())
        .chain(of_migration.keys())
    {
        assert!(is_setting(name), "{name} is not a setting");
    }
    let example = fs::read_to_string(self::folder().join("secret.example.yaml")).unwrap();
    for key in secrets.values().chain(of_migration.values()) {
        assert!(
            example.contains(&format!("  {key}: ")) || example.contains(&format!("  # {key}: ")),
            "{key}"
        );
    }

    // As in a pod: the init container migrates, and then the gateway finds nothing to do.
    let mut serve = container("/spec/containers/0");
    serve
        .envs(&environment)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("JWT_SECRET", "a secret of the tests, of 32 bytes and more");
    let refused = Service::start(&mut serve).ended();
    assert!(
        refused.output.contains("migrations are pending"),
        "{}",
        refused.output
    );
    output_of(&mut container("/spec/initContainers/0"));
    let service = Service::start(&mut serve);

    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = text(manifests.pod(&format!("/spec/containers/0/{probe}/httpGet/path")));
        assert_eq!(service.ask("GET", &path, "").0, "200", "{probe}: {path}");
    }
    assert_eq!(service.ask("GET", "/unknown", "").0, "404");
    let path = text(manifests.get("ServiceMonitor", "/spec/endpoints/0/path"));
    let (status, metrics) = service.ask("GET", &path, "");
    assert_eq!(status, "200");
    let metric = "/spec/metrics/0/pods/metric/name";
    let metric = text(manifests.get("HorizontalPodAutoscaler", metric));
    let line = format!("# TYPE {metric} gauge");
    assert!(metrics.lines().any(|it| it == line), "{line}");
    assert_eq!(service.stopped().code, Some(0));

    // The others can take over the clients of one of three.
    let target = "/spec/metrics/0/pods/target/averageValue";
    let target = text(manifests.get("HorizontalPodAutoscaler", target));
    let most: u64 = environment["MAX_CONNECTIONS"].parse().unwrap();
    assert!(
        target.parse::<u64>().unwrap() * 3 <= most * 2,
        "{target} {most}"
    );
}

/// Returns whether the gateway has a setting with this name: `check-config` prints all of them,
/// whether or not the gateway would start.
pub(super) fn is_setting(name: &str) -> bool {
    let mut command = Command::new(gateway());
    let output = run(command.arg("check-config").env_clear(), DEADLINE).unwrap();
    let settings = String::from_utf8(output.stdout).unwrap();
    let mut names = settings.lines().map(|line| line.split(' ').next());
    names.any(|it| it == Some(name))
}
