//! Who a regional plane is in a real cluster: the ServiceAccount that `deploy/` gives it, with the roles that `deploy/`
//! binds to it and a token that the cluster made for it. Whatever a test has a plane do, it does with no other right.

use std::path::{Path, PathBuf};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    config::Kubeconfig,
};
use serde_json::{Value, json};

use super::{PATIENCE, audit::Record};

/// What the chart calls it.
const NAME: &str = "senren-regional";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/regional.yaml");

/// The identity of one plane in one cluster. A test fails in which it is refused anything.
pub struct Account {
    /// The namespace that it lives in.
    pub namespace: String,
    /// Proves who it is, for a day.
    pub token: String,
    dir: tempfile::TempDir,
    audit_log: PathBuf,
}

impl Account {
    /// Makes it, for a plane whose namespaces begin with `<prefix>-`.
    pub async fn create(admin: &Client, kubeconfig: &Path, prefix: &str) -> Self {
        let namespace = format!("{prefix}-system");
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let params = PatchParams::apply("senren-tests").force();
        let namespaces = Api::<Namespace>::all(admin.clone());
        namespaces.patch(&namespace, &params, &Patch::Apply(&object)).await.expect("a namespace");
        for object in manifests(prefix).into_iter().filter(is_rights) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let api = api_of(admin, &object);
            let applied = api.patch(&name, &params, &Patch::Apply(&object)).await;
            applied.unwrap_or_else(|error| panic!("{} {name}: {error}", object["kind"]));
        }
        let token = token(admin, &namespace).await;
        let dir = tempfile::tempdir().expect("a directory");
        let account = Self { namespace, token, dir, audit_log: kubeconfig.with_file_name("audit.log") };
        account.write_kubeconfig(kubeconfig);
        account.until_bound(admin).await;
        account
    }

    /// Leads to the cluster, as nobody else.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// As kube-apiserver calls it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{NAME}", self.namespace)
    }

    /// What it did so far. `None`: the cluster is one that writes no record.
    pub fn record(&self) -> Option<Record> {
        Record::read(&self.audit_log, &self.user())
    }

    /// What it and its like, the planes of other tests in its cluster, did so far. `None`: as above.
    pub fn record_of_all(&self) -> Option<Record> {
        Record::read(&self.audit_log, &format!(":{NAME}"))
    }

    fn write_kubeconfig(&self, admin: &Path) {
        let mut kubeconfig = Kubeconfig::read_from(admin).expect("a kubeconfig");
        for user in &mut kubeconfig.auth_infos {
            let auth_info = json!({"token": self.token});
            user.auth_info = Some(serde_json::from_value(auth_info).expect("a user"));
        }
        let text = serde_json::to_string(&kubeconfig).expect("a kubeconfig");
        std::fs::write(self.kubeconfig(), text).expect("a file");
    }

    /// kube-apiserver hears of roles from itself, and a little later.
    async fn until_bound(&self, admin: &Client) {
        let ask = |group: &str, resource: &str, verb: &str, namespace: Option<&String>| SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.user()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.into()),
                    resource: Some(resource.into()),
                    verb: Some(verb.into()),
                    namespace: namespace.cloned(),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews = Api::<SubjectAccessReview>::all(admin.clone());
        let bound = async {
            for asked in [
                ask("", "pods", "list", None),
                ask("coordination.k8s.io", "leases", "get", Some(&self.namespace)),
            ] {
                let allowed = async || {
                    let review = reviews.create(&PostParams::default(), &asked).await.expect("an answer");
                    review.status.is_some_and(|status| status.allowed)
                };
                while !allowed().await {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, bound).await.expect("the roles of deploy/manifests are bound");
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let refused = self.record().unwrap_or_default().refused;
        if !std::thread::panicking() {
            assert!(refused.is_empty(), "{} needs what the chart does not allow: {refused:#?}", self.user());
        }
    }
}

/// `deploy/manifests/regional.yaml`, for another prefix.
pub fn manifests(prefix: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(MANIFEST).expect("deploy/manifests/regional.yaml");
    let text = text
        .replace("senren-system", &format!("{prefix}-system"))
        .replace("senren-regional-senren", &format!("senren-regional-{prefix}"));
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// The API that takes an object.
pub fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, &kind));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn is_rights(object: &Value) -> bool {
    let kinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    kinds.iter().any(|kind| object["kind"] == *kind)
}

async fn token(admin: &Client, namespace: &str) -> String {
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(NAME, &PostParams::default(), &request).await;
    answer.expect("an answer").status.and_then(|status| status.token).expect("a token")
}
