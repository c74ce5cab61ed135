use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_kind_is_served_once_its_definition_is_established() {
    let sim = cluster().await;
    let client = sim.client();
    assert_eq!(refusal(widgets(&client).get("a").await).code, 404);
    create(&definitions(&client), definition(widget_schema())).await;
    established(&client).await;
    let stored = definitions(&client).get("widgets.example.com").await.unwrap();
    assert_eq!(
        (stored.metadata.finalizers, &stored.data["spec"]["names"]["listKind"]),
        (None, &json!("WidgetList"))
    );
    let created = create(&widgets(&client), widget("a", json!({"size": 1}))).await;
    assert_eq!(created.data["spec"], json!({"size": 1, "color": "red"}));
    assert_eq!(created.metadata.generation, Some(1));
}

#[tokio::test]
async fn unknown_fields_are_pruned_except_where_they_are_preserved() {
    let (_sim, client) = with_widgets().await;
    let spec = json!({"size": 1, "colour": "red", "free": {"any": {"thing": 1}}});
    let created = create(&widgets(&client), widget("a", spec)).await;
    assert_eq!(created.data["spec"], json!({"size": 1, "color": "red", "free": {"any": {"thing": 1}}}));
}

async fn check_refused(spec: Value, field: &str, reason: &str) {
    let (_sim, client) = with_widgets().await;
    let result = widgets(&client).create(&PostParams::default(), &object(widget("a", spec.clone()))).await;
    let status = refusal(result);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{spec}");
    let causes = status.details.unwrap().causes;
    assert!(causes.iter().any(|c| c.field == field && c.reason == reason), "{spec}: {causes:?}");
}

#[tokio::test]
async fn what_violates_the_schema_is_refused_with_its_field() {
    check_refused(json!({}), "spec.size", "FieldValueRequired").await;
    check_refused(json!({"size": "big"}), "spec.size", "FieldValueTypeInvalid").await;
    check_refused(json!({"size": 0}), "spec.size", "FieldValueInvalid").await;
    check_refused(json!({"size": 1, "color": "green"}), "spec.color", "FieldValueNotSupported").await;
}

#[tokio::test]
async fn an_update_of_a_custom_resource_must_say_what_it_rests_on() {
    let (_sim, client) = with_widgets().await;
    let widgets = widgets(&client);
    create(&widgets, widget("a", json!({"size": 1}))).await;
    let bare = object(widget("a", json!({"size": 2})));
    let status = refusal(widgets.replace("a", &PostParams::default(), &bare).await);
    assert_eq!(status.code, 422);
    assert!(
        status
            .message
            .ends_with("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
}

#[tokio::test]
async fn deleting_a_definition_deletes_its_objects_first() {
    let (_sim, client) = with_widgets().await;
    let (widgets, definitions) = (widgets(&client), definitions(&client));
    let mut held = widget("a", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&widgets, held).await;
    definitions.delete("widgets.example.com", &DeleteParams::default()).await.unwrap();
    eventually("the widget is being deleted", || async {
        widgets.get("a").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    let release = json!({"metadata": {"finalizers": null}});
    widgets.patch("a", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    gone(&definitions, "widgets.example.com").await;
    assert_eq!(refusal(widgets.list(&Default::default()).await).code, 404);
}

#[tokio::test]
async fn a_definition_with_names_that_are_taken_is_not_accepted() {
    let (_sim, client) = with_widgets().await;
    let definitions = definitions(&client);
    let mut other = definition(widget_schema());
    other["metadata"]["name"] = "gadgets.example.com".into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    create(&definitions, other).await;
    eventually("the conflict is reported", || async {
        let definition = definitions.get("gadgets.example.com").await.unwrap();
        let conditions = definition.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "NamesAccepted" && c["reason"] == "ListKindConflict")
    })
    .await;
}

#[tokio::test]
async fn a_definition_that_cannot_be_obeyed_is_refused() {
    let sim = cluster().await;
    let definitions = definitions(&sim.client());
    let mut several = definition(widget_schema());
    let version = several["spec"]["versions"][0].clone();
    several["spec"]["versions"].as_array_mut().unwrap().push(version);
    assert_eq!(refusal(definitions.create(&PostParams::default(), &object(several)).await).code, 501);
    let loose = definition(
        json!({"type": "object", "properties": {"spec": {"properties": {"a": {"type": "string"}}}}}),
    );
    let status = refusal(definitions.create(&PostParams::default(), &object(loose)).await);
    assert_eq!(status.code, 422, "{status:?}");
}

#[tokio::test]
async fn a_changed_schema_takes_effect_at_once() {
    let (_sim, client) = with_widgets().await;
    let mut schema = widget_schema();
    schema["properties"]["spec"]["properties"]["weight"] = json!({"type": "integer"});
    apply(&definitions(&client), "crd", definition(widget_schema())).await.unwrap();
    force(&definitions(&client), "crd", definition(schema)).await.unwrap();
    let created = create(&widgets(&client), widget("a", json!({"size": 1, "weight": 2}))).await;
    assert_eq!(created.data["spec"]["weight"], 2);
}
