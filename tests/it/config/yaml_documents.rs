//! Broken documents and exactly what is said about them.

use std::collections::BTreeMap;

use mirror::yaml::{FromYaml, Issue, Path, nearest, read};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
struct Inn {
    name: String,
    rooms: u16,
    #[serde(default)]
    garden: bool,
    #[serde(default)]
    guests: Vec<Guest>,
    #[serde(default)]
    menu: BTreeMap<String, f64>,
    #[serde(default)]
    sign: Option<Sign>,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
struct Guest {
    /// Two letters.
    #[schemars(extend("format" = "initials"))]
    name: String,
    country: String,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Sign {
    NoVacancy,
    Painted { colour: String },
}

impl FromYaml for Inn {
    const EXAMPLE: &'static str = "name: Bear";

    fn check_format(format: &str, value: &str, _written: &str) -> Result<(), Issue> {
        let issue = || Issue::new("expected two initials").found(format!("`{value}`"));
        match format {
            "initials" if value.len() != 2 => Err(issue().hint("first and last name")),
            _ => Ok(()),
        }
    }
}

fn problems(text: &str) -> String {
    let (inn, mut report) = read::<Inn>("inn.yaml", text, None);
    report.finish(inn).expect_err("a broken document").to_string()
}

fn inn(text: &str) -> Inn {
    let (inn, mut report) = read("inn.yaml", text, None);
    report.finish(inn).expect("a valid document")
}

#[test]
fn valid_document_is_read() {
    let inn = inn("name: no\nrooms: 3\nguests:\n- {name: ab, country: NO}\nsign: {painted: {colour: red}}\n");
    assert_eq!(inn.name, "no", "not a boolean");
    assert_eq!(inn.guests[0].country, "NO");
    assert_eq!(inn.sign, Some(Sign::Painted { colour: "red".into() }));
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let inn = inn("name: &n Bear\nrooms: 1\nguests:\n- &g {name: ab, country: *n}\n- {<<: *g, name: cd}\n");
    assert_eq!(inn.guests[1], Guest { name: "cd".into(), country: "Bear".into() });
}

#[test]
fn each_kind_of_mistake_has_a_message() {
    let cases = [
        (
            "name: Bear\nrooms: 3\ngardn: true\n",
            "inn.yaml:3:1: gardn: unknown key\n  hint: did you mean `garden`?",
        ),
        (
            "name: Bear\nrooms: 3\nxyzzy: 1\n",
            "inn.yaml:3:1: xyzzy: unknown key\n  hint: the keys here are `name`, `rooms`, `garden`, `guests`, `menu`, `sign`",
        ),
        (
            "name: 2.40\nrooms: 3\n",
            "inn.yaml:1:7: name: expected a string, found the number 2.40\n  hint: put it in quotes",
        ),
        (
            "name:\nrooms: '3'\n",
            "inn.yaml:1:5: name: expected a string, found nothing\n  hint: give it a value or remove the key\n\
             inn.yaml:2:8: rooms: expected a whole number up to 65535, found `3`\n  hint: write 3, without quotes",
        ),
        (
            "name: Bear\nrooms: 70000\n",
            "inn.yaml:2:8: rooms: expected a whole number up to 65535, found the number 70000",
        ),
        (
            "name: Bear\nrooms: 3\ngarden: yes\n",
            "inn.yaml:3:9: garden: expected true or false, found `yes`\n  hint: write true",
        ),
        (
            "name: Bear\nrooms: 3\nname: Lion\n",
            "inn.yaml:3:1: name: duplicate key, first set at line 1\n  hint: keep one of the two",
        ),
        (
            "name: Bear\nrooms: 3\nsign: no-vacansy\n",
            "inn.yaml:3:7: sign: expected one of `no-vacancy`, `painted`, found `no-vacansy`\n  hint: did you mean `no-vacancy`?",
        ),
        ("name: Bear\nrooms: 3\nsign: painted\n", "inn.yaml:3:7: sign: `painted` needs a value"),
        ("- Bear\n", "inn.yaml:1:1: expected a mapping, found a list"),
        ("", "inn.yaml:1:1: the document is empty\n  hint: begin with `name: Bear`"),
        ("{}\n", "inn.yaml:1:1: the key `name` is missing\ninn.yaml:1:1: the key `rooms` is missing"),
        (
            "name: Bear\nrooms: 3\nmenu: {beer.small: 3.5, soup: cheap}\n",
            "inn.yaml:3:31: menu.soup: expected a number, found `cheap`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), expected, "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_and_none_twice() {
    let text = "\
nam: Bear
rooms: many
guests:
- {name: abc, country: 1}
- {name: xy, contry: FR, age: 7}
- {name: xyz}
";
    let expected = "\
inn.yaml:1:1: nam: unknown key
  hint: did you mean `name`?
inn.yaml:2:8: rooms: expected a whole number up to 65535, found `many`
inn.yaml:4:10: guests[0].name: expected two initials, found `abc`
  hint: first and last name
inn.yaml:4:24: guests[0].country: expected a string, found the number 1
  hint: put it in quotes
inn.yaml:5:14: guests[1].contry: unknown key
  hint: did you mean `country`?
inn.yaml:5:26: guests[1].age: unknown key
  hint: the keys here are `name`, `country`
inn.yaml:6:3: guests[2]: the key `country` is missing
inn.yaml:6:10: guests[2].name: expected two initials, found `xyz`
  hint: first and last name";
    assert_eq!(problems(text), expected);
}

#[test]
fn syntax_error_has_its_place() {
    let message = problems("name: [Bear\nrooms: 3\n");
    assert!(message.starts_with("inn.yaml:2:"), "{message}");
    assert!(message.contains("invalid YAML: "), "{message}");
}

#[test]
fn wrong_indentation_has_a_hint() {
    let message = problems("guests:\n- {name: ab}\nname: [x,\n y]\n  rooms: 3\n");
    assert!(message.contains("hint: check the indentation"), "{message}");
    let message = problems("guests:\n  - {name: ab}\n  name: ab\n");
    assert!(message.contains("hint: check the indentation"), "{message}");
}

#[test]
fn alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    assert!(problems(&text).contains("invalid YAML"), "{}", problems(&text));
}

#[test]
fn references_are_expanded_and_never_printed() {
    let lookup = |name: &str| (name == "INN").then(|| "s3cret".to_owned());
    let (inn, mut report) = read::<Inn>("inn.yaml", "name: the ${INN} $${INN}\nrooms: 1\n", Some(&lookup));
    assert_eq!(report.finish(inn).expect("a valid document").name, "the s3cret ${INN}");

    let text = "name: ${OUT}\nrooms: ${INN}\nsign: ${INN}\nguests: [{name: '${INN}', country: '${'}]\n";
    let (inn, mut report) = read::<Inn>("inn.yaml", text, Some(&lookup));
    let expected = "\
inn.yaml:1:7: name: the environment variable `OUT` is not set
  hint: set it, or write `$${` for a literal `${`
inn.yaml:2:8: rooms: expected a whole number up to 65535, found the value of `${INN}`
inn.yaml:3:7: sign: expected one of `no-vacancy`, `painted`, found the value of `${INN}`
inn.yaml:4:17: guests[0].name: expected two initials, found the value of `${INN}`
inn.yaml:4:36: guests[0].country: expected the name of an environment variable in `${…}`
  hint: write `$${` for a literal `${`";
    assert_eq!(report.finish(inn).expect_err("a broken document").to_string(), expected);
}

#[test]
fn issues_of_the_caller_join_the_report() {
    let text = "name: Bear\nrooms: x\nguests: [{name: ab, country: Narnia}]\n";
    let (inn, mut report) = read::<Inn>("inn.yaml", text, None);
    assert!(inn.is_some(), "the rest can be checked");
    let country = Path::default().key("guests").index(0).key("country");
    report.add(&country, Issue::new("expected a country").found("`Narnia`").hint("look at a map"));
    report.add(&Path::default().key("rooms"), Issue::new("follows from the wrong type"));
    let expected = "\
inn.yaml:2:8: rooms: expected a whole number up to 65535, found `x`
inn.yaml:3:30: guests[0].country: expected a country, found `Narnia`
  hint: look at a map";
    assert_eq!(report.finish(inn).expect_err("a broken document").to_string(), expected);
}

#[test]
fn paths_are_printed_unambiguously() {
    let path = Path::default().key("git").key("rewrite").key("https://a.b/").index(2);
    assert_eq!(path.to_string(), "git.rewrite[\"https://a.b/\"][2]");
}

#[test]
fn nearest_word_must_be_similar() {
    let keys = ["schedule", "recipe", "url"];
    assert_eq!(nearest("shedule", keys), Some("schedule"));
    assert_eq!(nearest("Recipes", keys), Some("recipe"));
    assert_eq!(nearest("colour", keys), None);
}
