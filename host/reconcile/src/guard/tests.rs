#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

pub(crate) fn rules() -> Rules {
    let labels = [(names::NAME, "cache"), (names::TYPE, "redis"), (names::MANAGED_BY, "senren")];
    let claim = ApiKind::new("v1", "PersistentVolumeClaim");
    Rules {
        namespace: "senren-default".into(),
        name: "cache".into(),
        uid: "u1".into(),
        owner: json!({
            "apiVersion": "senren.io/v1", "kind": "RedisDatabase", "name": "cache", "uid": "u1",
            "controller": true, "blockOwnerDeletion": true,
        }),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        owns: crate::default_allowed_kinds().into_iter().chain([claim.clone()]).collect(),
        allowed: crate::default_allowed_kinds()
            .into_iter()
            .filter(|kind| kind.kind != "CronJob")
            .chain([claim])
            .collect(),
        secrets: ["cache-auth".to_owned()].into(),
        claims: ["data-cache-0".to_owned()].into(),
    }
}

fn child(object: &Value) -> wit::Child {
    wit::Child { object: object.to_string(), mode: "apply".into() }
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cache-config"}, "data": {"a": "1"}})
}

fn stateful_set() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "cache"},
        "spec": {
            "serviceName": "cache",
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "redis", "image": "redis:7.2"}]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    })
}

/// `object` with `value` at `pointer`, which is made where it is missing.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut object;
    for part in pointer.trim_start_matches('/').split('/') {
        at = match part.parse::<usize>() {
            Ok(index) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let list = at.as_array_mut().unwrap();
                list.resize(list.len().max(index + 1), json!({}));
                &mut list[index]
            }
            Err(_) => &mut at[part],
        };
    }
    *at = value;
    object
}

fn refusals(children: &[wit::Child]) -> Vec<String> {
    match guard(children, &rules()) {
        Ok(_) => vec![],
        Err(refusals) => refusals.iter().map(ToString::to_string).collect(),
    }
}

fn check(object: Value, expected: &str) {
    assert_eq!(refusals(&[child(&object)]), [expected], "{object:#}");
}

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// `value` at `pointer` of the pod template is refused there, because it `problem`.
fn check_pod(pointer: &str, value: Value, problem: &str) {
    check(
        with(stateful_set(), &format!("{POD}{pointer}"), value),
        &format!("StatefulSet cache at {POD}{pointer}: {problem}"),
    );
}

fn check_container(pointer: &str, value: Value, problem: &str) {
    let object = with(stateful_set(), &format!("{CONTAINER}{pointer}"), value);
    check(object, &format!("StatefulSet cache at {CONTAINER}{pointer}: {problem}"));
}

#[test]
fn identity_is_set_whatever_the_plugin_says() {
    let object = with(config_map(), "/status", json!({"phase": "chosen"}));
    let guarded = guard(&[child(&object)], &rules()).unwrap();
    insta::assert_json_snapshot!(guarded[0].object);
}

#[test]
fn a_pod_template_is_closed_and_everything_selects_only_its_own() {
    let guarded = guard(&[child(&stateful_set())], &rules()).unwrap();
    insta::assert_json_snapshot!(guarded[0].object);
}

#[test]
fn selectors_are_narrowed_to_the_resource() {
    let pods = "/spec/podSelector/matchLabels";
    for (api_version, kind, selector, at) in [
        ("v1", "Service", json!({"selector": {"app": "x"}}), "/spec/selector"),
        ("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1}), "/spec/selector/matchLabels"),
        ("policy/v1", "PodDisruptionBudget", json!({"selector": null}), "/spec/selector/matchLabels"),
        ("networking.k8s.io/v1", "NetworkPolicy", Value::Null, pods),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": {}}), pods),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": null}), pods),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": {"matchLabels": null}}), pods),
    ] {
        let object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "cache"}, "spec": selector});
        let guarded = guard(&[child(&object)], &rules()).unwrap();
        assert_eq!(guarded[0].object.pointer(at).unwrap()[names::NAME], "cache", "{kind}");
    }
    let headless = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cache"}, "spec": {"clusterIP": "None"}});
    let guarded = guard(&[child(&headless)], &rules()).unwrap();
    assert_eq!(guarded[0].object.pointer("/spec/selector"), None, "one without a selector gets none");
}

#[test]
fn objects_that_are_none_are_refused() {
    let text = |object: &str| wit::Child { object: object.into(), mode: "apply".into() };
    for (object, expected) in [
        ("{", "object 0: is no JSON object"),
        ("[]", "object 0: is no JSON object"),
        (r#"{"kind": "ConfigMap", "metadata": {"name": "cache"}}"#, "object 0: has no apiVersion"),
        (r#"{"apiVersion": "v1", "metadata": {"name": "cache"}}"#, "object 0: has no kind"),
        (r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}"#, "object 0: has no metadata.name"),
        (
            r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "cache-"}}"#,
            "object 0: has no metadata.name",
        ),
    ] {
        assert_eq!(refusals(&[text(object)]), [expected], "{object}");
    }
}

#[test]
fn kinds_that_are_not_owned_or_not_allowed_are_refused() {
    let object = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "cache"}});
    let never = "is never allowed: it changes what others may do";
    for (api_version, kind, problem) in [
        ("v1", "Endpoints", "kind v1/Endpoints is not among those that the plugin says it owns".to_owned()),
        (
            "apps/v1beta1",
            "StatefulSet",
            "kind apps/v1beta1/StatefulSet is not among those that the plugin says it owns".into(),
        ),
        (
            "batch/v1",
            "CronJob",
            "kind batch/v1/CronJob is not among those that the operator of this region allows".into(),
        ),
        (
            "v1",
            "Secret",
            "kind v1/Secret is never allowed: secrets are made by the host: ask for one instead".into(),
        ),
        ("v1", "Namespace", "kind v1/Namespace is never allowed: it is not part of one resource".into()),
        (
            "v1",
            "ServiceAccount",
            "kind v1/ServiceAccount is never allowed: it grants access to the Kubernetes API".into(),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            format!("kind rbac.authorization.k8s.io/v1/RoleBinding {never}"),
        ),
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            format!("kind admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration {never}"),
        ),
        ("senren.io/v1", "RedisDatabase", format!("kind senren.io/v1/RedisDatabase {never}")),
    ] {
        check(object(api_version, kind), &format!("{kind} cache: {problem}"));
    }
}

#[test]
fn a_name_is_the_resources_or_begins_with_it() {
    let named = |name: &str| with(config_map(), "/metadata/name", json!(name));
    for good in ["cache", "cache-config", "cache-a-b-0"] {
        assert_eq!(refusals(&[child(&named(good))]), Vec::<String>::new(), "{good}");
    }
    for bad in ["other", "cachex", "cach", "my-cache"] {
        let expected =
            format!("ConfigMap {bad} at /metadata/name: must be \"cache\" or start with \"cache-\"");
        check(named(bad), &expected);
    }
    for bad in ["cache-A", "cache-", "cache-a.b", &format!("cache-{}", "x".repeat(60))] {
        let label = "must be a DNS label: at most 63 lower-case letters, digits and '-'";
        check(named(bad), &format!("ConfigMap {bad} at /metadata/name: {label}"));
    }
}

#[test]
fn metadata_is_the_hosts() {
    let at = |pointer: &str, value: Value, problem: &str| {
        check(with(config_map(), pointer, value), &format!("ConfigMap cache-config at {problem}"));
    };
    at(
        "/metadata/namespace",
        json!("kube-system"),
        "/metadata/namespace: \"kube-system\" is not the resource's namespace \"senren-default\": leave it out",
    );
    at(
        "/metadata/ownerReferences",
        json!([{"uid": "u2"}]),
        "/metadata/ownerReferences: is the host's to set: leave it out",
    );
    at("/metadata/finalizers", json!(["a/b"]), "/metadata/finalizers: could hold up deletions");
    at("/metadata/uid", json!("u"), "/metadata/uid: is not known to be safe");
    at(
        "/metadata/labels",
        json!({names::NAME: "other"}),
        "/metadata/labels: label senren.io/name is the host's to set, to \"cache\"",
    );
    at("/metadata/labels", json!({"senren.io/x": "y"}), "/metadata/labels: label senren.io/x is the host's");
    at(
        "/metadata/annotations",
        json!({names::APPLIED: "h"}),
        "/metadata/annotations: annotation senren.io/applied is the host's",
    );
    at(
        "/metadata/annotations",
        json!({"container.apparmor.security.beta.kubernetes.io/redis": "unconfined"}),
        "/metadata/annotations: annotation container.apparmor.security.beta.kubernetes.io/redis changes the node's \
         protection",
    );
    let same = with(config_map(), "/metadata/namespace", json!("senren-default"));
    assert_eq!(
        refusals(&[child(&same)]),
        Vec::<String>::new(),
        "its own namespace is none of its business, but right"
    );
}

#[test]
fn duplicates_unknown_modes_and_too_many_are_refused() {
    assert_eq!(
        refusals(&[child(&config_map()), child(&config_map())]),
        ["ConfigMap cache-config: is there twice"]
    );
    let unknown = wit::Child { mode: "merge".into(), ..child(&config_map()) };
    let expected = "ConfigMap cache-config: mode \"merge\" is unknown: this host knows apply, create-only and recreate-orphan";
    assert_eq!(refusals(&[unknown]), [expected]);
    let many = vec![child(&config_map()); 201];
    assert_eq!(refusals(&many), ["the answer: 201 objects, at most 200 are allowed"]);
}

#[test]
fn pods_that_reach_the_node_are_refused() {
    check_pod("/hostNetwork", json!(true), "shares the node's network");
    check_pod("/hostPID", json!(true), "shares the node's processes");
    check_pod("/hostIPC", json!(true), "shares the node's memory segments");
    check_pod("/nodeName", json!("n1"), "goes past the scheduler");
    check_pod("/volumes/0/hostPath", json!({"path": "/"}), "mounts the node's file system");
    check_pod("/volumes/0/nfs", json!({"server": "x"}), "is not known to be safe");
    check_pod(
        "/securityContext/sysctls",
        json!([{"name": "a", "value": "b"}]),
        "changes the node's protection",
    );
    check_pod("/securityContext/seccompProfile", json!({"type": "Unconfined"}), "must be RuntimeDefault");
    check_pod("/priorityClassName", json!("system-node-critical"), "is for the cluster's own pods");
    check_container("/securityContext/privileged", json!(true), "gives the pod the node");
    check_container(
        "/securityContext/allowPrivilegeEscalation",
        json!(true),
        "lets the container gain privileges",
    );
    check_container(
        "/securityContext/capabilities/add",
        json!(["SYS_ADMIN"]),
        "gives the container more than a pod has",
    );
    check_container("/securityContext/procMount", json!("Unmasked"), "changes the node's protection");
    check_container("/ports/0/hostPort", json!(80), "takes a port of the node");
    check_container("/volumeMounts/0/mountPropagation", json!("Bidirectional"), "mounts into the node");
    check_container(
        "/readinessProbe/httpGet/host",
        json!("169.254.169.254"),
        "makes the node call another address than the pod's",
    );
    check_pod("/initContainers/0/securityContext/privileged", json!(true), "gives the pod the node");
    check_pod("/ephemeralContainers", json!([{"name": "x"}]), "is not known to be safe");
}

#[test]
fn pods_that_reach_the_kubernetes_api_are_refused() {
    let gives = "gives access to the Kubernetes API";
    check_pod("/serviceAccountName", json!("senren"), gives);
    check_pod("/serviceAccount", json!("senren"), gives);
    check_pod("/automountServiceAccountToken", json!(true), gives);
    check_pod("/volumes/0/projected/sources/0/serviceAccountToken", json!({"path": "token"}), gives);
}

#[test]
fn pods_that_reach_for_other_secrets_and_claims_are_refused() {
    let other = "secret \"other-auth\" was not asked for by this resource";
    check_pod("/volumes/0/secret/secretName", json!("other-auth"), other);
    check_pod("/volumes/0/projected/sources/0/secret/name", json!("other-auth"), other);
    check_container("/env/0/valueFrom/secretKeyRef/name", json!("other-auth"), other);
    check_container("/envFrom/0/secretRef/name", json!("other-auth"), other);
    check_pod(
        "/volumes/0/persistentVolumeClaim/claimName",
        json!("data-other-0"),
        "\"data-other-0\" is not a claim of this resource",
    );
    let claim = "/volumes/0/persistentVolumeClaim/claimName";
    check_pod(claim, json!("cache-eu"), "\"cache-eu\" is not a claim of this resource");
    let uses = |name: &str| with(stateful_set(), &format!("/spec/template/spec{claim}"), json!(name));
    assert_eq!(refusals(&[child(&uses("data-cache-0"))]), Vec::<String>::new());
    let declared = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache-dumps"},
                          "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(refusals(&[child(&declared), child(&uses("cache-dumps"))]), Vec::<String>::new());
    let own =
        with(stateful_set(), &format!("{CONTAINER}/env/0/valueFrom/secretKeyRef/name"), json!("cache-auth"));
    assert_eq!(refusals(&[child(&own)]), Vec::<String>::new());
}

#[test]
fn claims_ask_for_new_volumes_only() {
    let template = "/spec/volumeClaimTemplates/0";
    for (pointer, value, problem) in [
        ("/spec/volumeName", json!("pv-1"), "picks a volume that may hold another's data"),
        ("/spec/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "x"}), "copies another volume"),
        ("/metadata/namespace", json!("kube-system"), "is not known to be safe"),
    ] {
        let object = with(stateful_set(), &format!("{template}{pointer}"), value);
        check(object, &format!("StatefulSet cache at {template}{pointer}: {problem}"));
    }
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache"},
        "spec": {"volumeName": "pv-1"},
    });
    check(
        claim,
        "PersistentVolumeClaim cache at /spec/volumeName: picks a volume that may hold another's data",
    );
}

#[test]
fn services_stay_with_the_resource() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cache"}, "spec": spec});
    check(
        service(json!({"type": "ExternalName"})),
        "Service cache at /spec/type: ExternalName points clients elsewhere",
    );
    check(
        service(json!({"externalIPs": ["10.0.0.1"]})),
        "Service cache at /spec/externalIPs: takes over traffic of addresses that are not the resource's",
    );
}

#[test]
fn every_workload_is_looked_into() {
    let template = json!({"spec": {"hostNetwork": true, "containers": []}});
    for (api_version, kind, pointer) in
        [("apps/v1", "Deployment", "/spec/template"), ("batch/v1", "Job", "/spec/template")]
    {
        let object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "cache"}, "spec": {}});
        let expected = format!("{kind} cache at {pointer}/spec/hostNetwork: shares the node's network");
        check(with(object, pointer, template.clone()), &expected);
    }
    let mut rules = rules();
    rules.allowed.push(ApiKind::new("batch/v1", "CronJob"));
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cache"},
        "spec": {"jobTemplate": {"spec": {"template": template}}},
    });
    let refused = guard(&[child(&cron)], &rules).unwrap_err();
    let at = "/spec/jobTemplate/spec/template/spec/hostNetwork";
    assert_eq!(refused[0].to_string(), format!("CronJob cache at {at}: shares the node's network"));
}

#[test]
fn a_null_opens_nothing() {
    let object = with(stateful_set(), &format!("{POD}/securityContext"), json!({"seccompProfile": null}));
    let escalation = json!({"allowPrivilegeEscalation": null});
    let object = with(object, &format!("{CONTAINER}/securityContext"), escalation);
    let guarded = guard(&[child(&object)], &rules()).unwrap();
    let plain = guard(&[child(&stateful_set())], &rules()).unwrap();
    assert_eq!(guarded[0].object, plain[0].object);
}

#[test]
fn jobs_adopt_nobodys_pods() {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "cache"},
        "spec": {"template": {"spec": {"containers": []}}},
    });
    assert_eq!(refusals(&[child(&job)]), Vec::<String>::new());
    for (key, value) in [("manualSelector", json!(true)), ("selector", json!({"matchLabels": {"a": "b"}}))] {
        let problem = format!("Job cache at /spec/{key}: could adopt pods of others: leave it out");
        check(with(job.clone(), &format!("/spec/{key}"), value), &problem);
    }
}

#[test]
fn all_refusals_are_reported_at_once() {
    let bad = with(
        with(stateful_set(), &format!("{POD}/hostPID"), json!(true)),
        "/metadata/finalizers",
        json!(["a/b"]),
    );
    assert_eq!(refusals(&[child(&with(config_map(), "/metadata/name", json!("x"))), child(&bad)]).len(), 3);
}

#[test]
fn fields_that_say_nothing_are_no_reason_to_refuse() {
    let object = with(stateful_set(), &format!("{POD}/hostNetwork"), json!(false));
    let object = with(object, "/metadata/creationTimestamp", Value::Null);
    let object = with(object, &format!("{CONTAINER}/ports/0/hostPort"), json!(0));
    let object = with(object, &format!("{CONTAINER}/ports/0/containerPort"), json!(6379));
    assert_eq!(refusals(&[child(&object)]), Vec::<String>::new());
}
