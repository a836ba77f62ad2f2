use super::*;

#[test]
fn a_chat_template_is_followed() {
    let template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}!{% endif %}";
    assert_eq!(render(template, &[("user", "a"), ("assistant", "b")]).unwrap(), "<user>a<assistant>b!");
}

#[test]
fn one_that_cannot_be_followed_is_an_error() {
    for template in ["{{ nothing.here() }}", "{% for %}", &"x".repeat(TEMPLATE_BYTES_MAX + 1)] {
        assert!(render(template, &[("user", "a")]).is_err(), "{template:.20}");
    }
}

#[test]
fn a_file_that_is_no_model_is_an_error() {
    assert!(TargetTokenizer::load(Path::new("/nonexistent/model.gguf")).is_err());
    assert!(TargetTokenizer::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_err());
}
