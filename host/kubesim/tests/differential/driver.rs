//! Runs a chapter against a server and notes every answer, as it came.

use std::{collections::HashMap, time::Duration};

use http::{Request, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::script::{Chapter, Step};

/// Long enough for every answer, watches included.
const ONE_ANSWER: Duration = Duration::from_secs(30);

/// What a server answered to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub step: String,
    pub code: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The media type, unless it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    pub body: Value,
    /// It never became what the step waits for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never: bool,
}

/// The names that a run of a chapter has for itself on a server that others use too.
#[derive(Debug, Clone)]
pub struct Names {
    pub namespace: String,
    pub group: String,
}

impl Names {
    fn of(chapter: &Chapter) -> Names {
        let salt = &uuid::Uuid::new_v4().simple().to_string()[..8];
        Names { namespace: format!("{}-{salt}", chapter.name), group: format!("d{salt}.example.com") }
    }

    /// A server's words, as if the names were always the same.
    fn hide(&self, text: &str) -> String {
        text.replace(&self.namespace, "{ns}").replace(&self.group, "{group}")
    }
}

/// A chapter on its way.
struct Run<'a> {
    client: &'a Client,
    patience: Duration,
    names: Names,
    /// Bodies of earlier answers, as they came.
    seen: HashMap<String, Value>,
}

/// The answers of a server to the steps of a chapter; `patience` is how long it is given for what it does by itself.
/// Leaves nothing behind.
pub async fn run(chapter: &Chapter, client: &Client, patience: Duration) -> Vec<Answer> {
    let mut run = Run { client, patience, names: Names::of(chapter), seen: HashMap::new() };
    run.begin().await;
    let mut answers = Vec::new();
    for step in &chapter.steps {
        let answer = run.until(step).await;
        let hidden = run.names.hide(&answer.body.to_string());
        let body = serde_json::from_str(&hidden).expect("still JSON");
        let warnings = answer.warnings.iter().map(|warning| run.names.hide(warning)).collect();
        answers.push(Answer { body: only(body, &step.only), warnings, ..answer });
    }
    run.end().await;
    answers
}

impl Run<'_> {
    /// Makes the namespace, and waits for what every namespace has.
    async fn begin(&self) {
        let namespace = &self.names.namespace;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let made = self.ask(&plain("POST /api/v1/namespaces", Some(body))).await;
        assert_eq!(made.code, 201, "{made:?}");
        let account = format!("GET /api/v1/namespaces/{namespace}/serviceaccounts/default");
        let mut wait = plain(&account, None);
        wait.until.insert("/code".into(), json!(200));
        self.ask_until(&wait).await;
    }

    /// Deletes what was made, whatever holds it; nobody waits for it.
    async fn end(&self) {
        let Names { namespace, group } = &self.names;
        for objects in [
            format!("/api/v1/namespaces/{namespace}/configmaps"),
            format!("/apis/{group}/v1/namespaces/{namespace}/widgets"),
        ] {
            let held = self.ask(&plain(&format!("GET {objects}"), None)).await;
            for object in held.body["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let release = Some(json!({"metadata": {"finalizers": null}}));
                self.ask(&plain(&format!("MERGE {objects}/{name}"), release)).await;
            }
        }
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for plural in ["widgets", "gadgets"] {
            self.ask(&plain(&format!("DELETE {definitions}/{plural}.{group}"), None)).await;
        }
        self.ask(&plain(&format!("DELETE /api/v1/namespaces/{namespace}"), None)).await;
    }

    /// Asks until the answer is as the step wants it, and remembers it.
    async fn until(&mut self, step: &Step) -> Answer {
        let answer = self.ask_until(step).await;
        if let Some(id) = &step.id {
            self.seen.insert(id.clone(), answer.body.clone());
        }
        answer
    }

    async fn ask_until(&self, step: &Step) -> Answer {
        let begun = tokio::time::Instant::now();
        loop {
            let answer = self.ask(step).await;
            let whole = json!({"code": answer.code, "body": answer.body});
            let holds =
                |(place, value): (&String, &Value)| whole.pointer(place).unwrap_or(&Value::Null) == value;
            if step.until.iter().all(holds) {
                return answer;
            }
            if begun.elapsed() > self.patience {
                return Answer { never: true, ..answer };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask(&self, step: &Step) -> Answer {
        let (method, _, path) = step.call();
        let body = match (&step.body, &step.raw) {
            (Some(body), _) => self.fill(&body.to_string()),
            (None, Some(raw)) => self.fill(raw),
            (None, None) => String::new(),
        };
        let mut request = Request::builder().method(method).uri(self.fill(path));
        for (name, value) in step.headers() {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.into_bytes())).expect("a request");
        let exchange = async {
            let response =
                self.client.send(request).await.unwrap_or_else(|error| panic!("{}: {error}", step.name));
            let (head, body) = response.into_parts();
            (head, body.collect().await.expect("the whole answer").to_bytes())
        };
        let (head, bytes) = tokio::time::timeout(ONE_ANSWER, exchange)
            .await
            .unwrap_or_else(|_| panic!("{}: no answer, or no end of it", step.name));
        let text = String::from_utf8_lossy(&bytes);
        let body = if step.is_watch() && head.status == 200 {
            text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event")).collect()
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| text.clone().into())
        };
        let said =
            |name| head.headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned());
        let format = said(header::CONTENT_TYPE).next().filter(|format| format != "application/json");
        Answer {
            step: step.name.clone(),
            code: head.status.as_u16(),
            warnings: said(header::WARNING).collect(),
            format,
            body,
            never: false,
        }
    }

    /// A text with the names of this run and with what earlier answers said.
    fn fill(&self, text: &str) -> String {
        let text = text.replace("{ns}", &self.names.namespace).replace("{group}", &self.names.group);
        let reference = Regex::new(r"\{([a-z]+)(/[A-Za-z0-9/]+)\}").expect("a pattern");
        let found = |of: &Captures<'_>| {
            let body = self.seen.get(&of[1]).unwrap_or_else(|| panic!("nothing is called {}", &of[1]));
            match body.pointer(&of[2]) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => panic!("{}: {} is not in {body:#}", &of[1], &of[2]),
            }
        };
        reference.replace_all(&text, found).into_owned()
    }
}

fn plain(call: &str, body: Option<Value>) -> Step {
    let mut step = json!({"name": call, "call": call});
    if let Some(body) = body {
        step["body"] = body;
    }
    serde_json::from_value(step).expect("a step")
}

/// A body without what doesn't count.
fn only(body: Value, places: &[String]) -> Value {
    if places.is_empty() {
        return body;
    }
    let part = |place: &String| (place.clone(), body.pointer(place).cloned().unwrap_or_default());
    Value::Object(places.iter().map(part).collect())
}
