//! Members, bans and mutes.

use serde_json::{Value, json};

use super::{Api, start};
use crate::support::Database;

crate::on_each_database!(
    members_are_set_listed_and_removed,
    many_members_are_set_at_once,
    what_cannot_be_set_is_refused_as_a_whole,
    bans_and_mutes_have_an_end_and_a_reason,
    rooms_are_listed_in_pages,
);

fn ids(page: &Value, list: &str) -> Vec<String> {
    let users = page[list].as_array().unwrap().iter();
    users
        .map(|user| user["userId"].as_str().unwrap().to_owned())
        .collect()
}

async fn members_are_set_listed_and_removed(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    for list in ["members", "bans", "mutes", "messages"] {
        let unknown = api.get(&format!("/rooms/7/{list}")).await;
        assert_eq!(unknown.error(), (404, "not_found".to_owned()), "{list}");
    }
    api.put("/rooms/7", &json!({ "kind": "private" }))
        .await
        .body(201);
    let empty = json!({ "members": [] });
    assert_eq!(api.get("/rooms/7/members").await.body(200), empty);

    // A room that the API has created is joined over a socket.
    let member = json!({ "role": "owner", "name": "Ada" });
    let ada = api.put("/rooms/7/members/ada", &member).await.body(200);
    let expected = json!({
        "userId": "ada", "user": { "id": "ada", "name": "Ada" }, "role": "owner",
        "joinedAt": ada["joinedAt"]
    });
    assert_eq!(ada, expected);
    let mut client = gateway.connect("ada").await;
    client.join(7).await;
    // Without a name, the one that is known stays. The same again changes nothing.
    let role = json!({ "role": "owner" });
    assert_eq!(
        api.put("/rooms/7/members/ada", &role).await.body(200),
        expected
    );
    // An id may contain anything.
    let odd = "%2F%20%C3%A9%3F";
    let member = json!({ "role": "reader" });
    let path = format!("/rooms/7/members/{odd}");
    let added = api.put(&path, &member).await.body(200);
    assert_eq!(added["userId"], "/ é?");
    let event = client.event("memberChanged").await;
    assert_eq!(event, json!({ "roomId": 7, "member": added, "by": null }));
    assert_eq!(api.get("/rooms/7").await.body(200)["memberCount"], 2);

    let first = api.get("/rooms/7/members?limit=1").await.body(200);
    assert_eq!(
        (ids(&first, "members"), &first["next"]),
        (vec!["/ é?".to_owned()], &json!("/ é?"))
    );
    let second = api
        .get(&format!("/rooms/7/members?limit=1&after={odd}&x=1&x=2"))
        .await
        .body(200);
    assert_eq!(second, json!({ "members": [expected] }));

    for _ in 0..2 {
        assert_eq!(api.delete(&path).await.status, 204);
    }
    let event = client.event("memberChanged").await;
    assert_eq!(event["member"]["role"], Value::Null);
    let last = api.delete("/rooms/7/members/ada").await;
    assert_eq!(last.error(), (409, "conflict".to_owned()));
    let demoted = api
        .put("/rooms/7/members/ada", &json!({ "role": "member" }))
        .await;
    assert_eq!(demoted.error(), (409, "conflict".to_owned()));
    // A name alone is no change of the rules.
    let renamed = json!({ "role": "owner", "name": "Ada L." });
    let renamed = api.put("/rooms/7/members/ada", &renamed).await.body(200);
    assert_eq!(renamed["user"]["name"], "Ada L.");
}

async fn many_members_are_set_at_once(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut client = gateway.connect("user-0000").await;
    client.join(7).await;
    let members: Vec<Value> = (0..1000)
        .rev()
        .map(|n| json!({ "userId": format!("user-{n:04}"), "role": "member", "name": format!("N{n}") }))
        .collect();
    let body = json!({ "members": members });
    let set = api.post("/rooms/7/members", &body).await.body(200);
    let set_ids = ids(&set, "members");
    assert_eq!((set_ids.len(), set_ids[0].as_str()), (1000, "user-0000"));
    assert!(set_ids.is_sorted());
    assert_eq!(set["members"][999]["user"]["name"], "N999");
    let room = api.get("/rooms/7").await.body(200);
    assert_eq!(room["memberCount"], 1000);
    assert_eq!(client.event("roomChanged").await["room"], room);
    let event = client.event("memberChanged").await;
    assert_eq!(
        (&event["member"]["role"], &event["by"]),
        (&json!("member"), &Value::Null)
    );
    assert_eq!(database.sql("SELECT rules FROM rooms WHERE id = 7"), "1");
    // The same again changes nothing; one other role is one change.
    api.post("/rooms/7/members", &body).await.body(200);
    assert_eq!(database.sql("SELECT rules FROM rooms WHERE id = 7"), "1");
    let two = json!({ "members": [
        { "userId": "user-0001", "role": "owner" }, { "userId": 42, "role": "reader" }
    ]});
    let set = api.post("/rooms/7/members", &two).await.body(200);
    assert_eq!(ids(&set, "members"), ["42", "user-0001"]);
    assert_eq!(database.sql("SELECT rules FROM rooms WHERE id = 7"), "2");
    assert_eq!(api.get("/rooms/7").await.body(200)["memberCount"], 1001);
    let counted = "SELECT owner_count, (SELECT count(*) FROM members) FROM room_settings";
    assert_eq!(database.sql(counted), "1|1001");
}

async fn what_cannot_be_set_is_refused_as_a_whole(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    api.put("/rooms/7/members/ada", &json!({ "role": "owner" }))
        .await
        .body(200);
    assert_eq!(api.put("/rooms/7/bans/eve", &json!({})).await.status, 204);
    let conflict = (409, "conflict".to_owned());
    for members in [
        json!([{ "userId": "bob", "role": "member" }, { "userId": "eve", "role": "member" }]),
        json!([{ "userId": "bob", "role": "member" }, { "userId": "ada", "role": "member" }]),
    ] {
        let refused = api
            .post("/rooms/7/members", &json!({ "members": members }))
            .await;
        assert_eq!(refused.error(), conflict, "{members}");
    }
    // One owner may take another's place.
    let exchange = json!({ "members": [
        { "userId": "bob", "role": "owner" }, { "userId": "ada", "role": "member" }
    ]});
    api.post("/rooms/7/members", &exchange).await.body(200);
    let many: Vec<Value> = (0..1001)
        .map(|n| json!({ "userId": n, "role": "member" }))
        .collect();
    for members in [
        json!(null),
        json!([]),
        json!({}),
        json!(many),
        json!([1]),
        json!([{}]),
        json!([{ "userId": "x" }]),
        json!([{ "userId": "x", "role": "king" }]),
        json!([{ "userId": "", "role": "member" }]),
        json!([{ "userId": "x", "role": "member", "name": "" }]),
        json!([{ "userId": "x", "role": "member" }, { "userId": "x", "role": "member" }]),
        json!([{ "userId": "1", "role": "member" }, { "userId": 1, "role": "reader" }]),
    ] {
        let refused = api
            .post("/rooms/7/members", &json!({ "members": members }))
            .await;
        assert_eq!(
            refused.error(),
            (400, "invalid_payload".to_owned()),
            "{members}"
        );
        assert_eq!(refused.field(), "members", "{members}");
    }
    let duplicate = r#"{"members":[{"userId":"x","userId":"y","role":"member"}]}"#;
    let refused = api.with_body("POST", "/rooms/7/members", duplicate).await;
    assert_eq!(refused.field(), "members");
    let listed = api.get("/rooms/7/members").await.body(200);
    assert_eq!(ids(&listed, "members"), ["ada", "bob"]);
}

async fn bans_and_mutes_have_an_end_and_a_reason(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut eve = gateway.connect("eve").await;
    eve.join(7).await;
    for (list, reason) in [("mutes", "noise"), ("bans", "spam")] {
        let path = format!("/rooms/7/{list}/eve");
        let forever = json!({ "reason": reason });
        for _ in 0..2 {
            assert_eq!(api.put(&path, &forever).await.status, 204);
        }
        let page = api.get(&format!("/rooms/7/{list}")).await.body(200);
        let expected = json!({ list: [{
            "userId": "eve", "user": { "id": "eve", "name": "eve" },
            "until": "9999-12-31T23:59:59.999Z", "reason": reason
        }]});
        assert_eq!(page, expected);
    }
    assert_eq!(
        eve.event("memberChanged").await["member"]["role"],
        Value::Null
    );
    assert_eq!(
        eve.event("leftRoom").await,
        json!({ "roomId": 7, "reason": "banned" })
    );
    let found = eve.call("getRoom", &json!({ "roomId": 7 })).await;
    assert_eq!(found["error"]["code"], "not_found");
    // The newest ban counts, and its reason.
    assert_eq!(
        api.put("/rooms/7/bans/eve", &json!({ "seconds": 60 }))
            .await
            .status,
        204
    );
    let page = api.get("/rooms/7/bans").await.body(200);
    assert_ne!(page["bans"][0]["until"], "9999-12-31T23:59:59.999Z");
    assert_eq!(page["bans"][0].get("reason"), None);
    for _ in 0..2 {
        for list in ["mutes", "bans"] {
            assert_eq!(
                api.delete(&format!("/rooms/7/{list}/eve")).await.status,
                204
            );
            let page = api.get(&format!("/rooms/7/{list}")).await.body(200);
            assert_eq!(page, json!({ list: [] }));
        }
    }
    eve.join(7).await;
    assert_eq!(eve.send(7, "hello").await["ok"], true);

    for user in ["a", "b", "c"] {
        assert_eq!(
            api.put(&format!("/rooms/7/mutes/{user}"), &json!({}))
                .await
                .status,
            204
        );
    }
    let page = api.get("/rooms/7/mutes?after=a&limit=1").await.body(200);
    assert_eq!(
        (ids(&page, "mutes"), &page["next"]),
        (vec!["b".to_owned()], &json!("b"))
    );
    for (body, field) in [
        (json!({ "seconds": 0 }), "seconds"),
        (json!({ "seconds": 315_360_001 }), "seconds"),
        (json!({ "reason": "" }), "reason"),
        (json!({ "reason": "x".repeat(501) }), "reason"),
        (json!({ "reason": 1 }), "reason"),
    ] {
        let refused = api.put("/rooms/7/bans/eve", &body).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_payload".to_owned()),
            "{body}"
        );
        assert_eq!(refused.field(), field, "{body}");
    }
    // Lifting what never was creates nothing.
    assert_eq!(api.delete("/rooms/9/bans/eve").await.status, 204);
    assert_eq!(api.get("/rooms/9").await.status, 404);
}

async fn rooms_are_listed_in_pages(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    assert_eq!(api.get("/rooms").await.body(200), json!({ "rooms": [] }));
    for room in [9_007_199_254_740_991_u64, 3, 20] {
        api.put(&format!("/rooms/{room}"), &json!({}))
            .await
            .body(201);
    }
    let numbers = |page: &Value| -> Vec<u64> {
        let rooms = page["rooms"].as_array().unwrap().iter();
        rooms.map(|room| room["roomId"].as_u64().unwrap()).collect()
    };
    let first = api.get("/rooms?limit=2").await.body(200);
    assert_eq!((numbers(&first), &first["next"]), (vec![3, 20], &json!(20)));
    assert_eq!(first["rooms"][0], api.get("/rooms/3").await.body(200));
    let second = api.get("/rooms?limit=2&after=20").await.body(200);
    assert_eq!(numbers(&second), [9_007_199_254_740_991]);
    assert_eq!(second.get("next"), None);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=1", "limit"),
        ("after=0", "after"),
        ("after=x", "after"),
        ("after=%ff", "after"),
    ] {
        let refused = api.get(&format!("/rooms?{query}")).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_payload".to_owned()),
            "{query}"
        );
        assert_eq!(refused.field(), field, "{query}");
    }
}
