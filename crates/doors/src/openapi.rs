//! The API, described: OpenAPI 3.1, written by hand, held true by the tests below.

use axum::http::{HeaderName, header};

pub(crate) async fn document() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::fake::Fake;
    use crate::routes::{open_routes, operator_routes, shared_routes};

    fn described() -> Value {
        serde_json::from_str(include_str!("openapi.json")).unwrap()
    }

    #[test]
    fn every_path_is_described_and_every_described_path_exists() {
        let shared = shared_routes().map(|(path, _)| path);
        let operators = operator_routes().map(|(path, _)| path);
        let open = open_routes().map(|(path, _)| path);
        let routes: BTreeSet<&str> = shared.into_iter().chain(operators).chain(open).collect();
        let described = described();
        let described: BTreeSet<&str> =
            described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(routes, described);
    }

    /// A route says which methods it has by refusing the others.
    #[test]
    fn every_method_is_described_and_every_described_method_exists() {
        let fake = Fake::start();
        let agent =
            ureq::Agent::from(ureq::config::Config::builder().http_status_as_error(false).build());
        for (path, methods) in described()["paths"].as_object().unwrap() {
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
                let request = ureq::http::Request::builder()
                    .method(method)
                    .uri(format!("http://{}{}", fake.address, path.replace(['{', '}'], "")))
                    .header("authorization", format!("Bearer {}", Fake::TOKEN))
                    .body(())
                    .unwrap();
                let status = agent.run(request).unwrap().status();
                let is_described = methods.get(method.to_lowercase()).is_some();
                assert_eq!(status != 405, is_described, "{method} {path}: {status}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(root: &Value, value: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    object.values().for_each(|value| check(root, value));
                }
                Value::Array(items) => items.iter().for_each(|value| check(root, value)),
                _ => {}
            }
        }
        let root = described();
        check(&root, &root);
    }
}
