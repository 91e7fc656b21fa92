//! Generates Rust from the `.proto` files with a compiler written in Rust: no system `protoc` is needed. Beside it, one line
//! for each field, value and call, which a test compares with those that were kept (`fields.txt`).

use std::fmt::Write as _;

use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=fleetbal");
    let files = protox::compile(
        [
            "fleetbal/v1/change.proto",
            "fleetbal/v1/config.proto",
            "fleetbal/v1/raft.proto",
            "fleetbal/v1/state.proto",
            "fleetbal/v1/gossip.proto",
            "fleetbal/v1/manage.proto",
            "fleetbal/v1/handover.proto",
        ],
        ["."],
    )?;
    let out = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    std::fs::write(std::path::Path::new(&out).join("fields.txt"), fields(&files)?)?;
    // Sorted maps, so that the same message is always the same bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    Ok(())
}

/// What makes the format: `MESSAGE NUMBER TYPE NAME`, `enum ENUM NUMBER NAME` and `rpc SERVICE CALL REQUEST -> ANSWER`.
fn fields(files: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut lines = String::new();
    let short = |name: &str| name.trim_start_matches(".fleetbal.v1.").to_owned();
    for file in &files.file {
        let nested = file.message_type.iter().flat_map(|message| {
            let inner = message.nested_type.iter();
            inner.map(move |inner| (format!("{}.{}", message.name(), inner.name()), inner))
        });
        let messages = file
            .message_type
            .iter()
            .map(|message| (message.name().to_owned(), message));
        for (name, message) in messages.chain(nested) {
            for field in &message.field {
                let label = match field.label().as_str_name() {
                    "LABEL_REPEATED" => "repeated ",
                    _ if field.proto3_optional() => "optional ",
                    _ if field.oneof_index.is_some() => "one of ",
                    _ => "",
                };
                let kind = match field.type_name() {
                    "" => field
                        .r#type()
                        .as_str_name()
                        .trim_start_matches("TYPE_")
                        .to_lowercase(),
                    named => short(named),
                };
                writeln!(lines, "{name} {} {label}{kind} {}", field.number(), field.name())?;
            }
        }
        for one in &file.enum_type {
            for value in &one.value {
                writeln!(lines, "enum {} {} {}", one.name(), value.number(), value.name())?;
            }
        }
        for service in &file.service {
            for call in &service.method {
                let streams = if call.client_streaming() { "stream " } else { "" };
                let (asks, gets) = (short(call.input_type()), short(call.output_type()));
                writeln!(
                    lines,
                    "rpc {} {} {streams}{asks} -> {gets}",
                    service.name(),
                    call.name()
                )?;
            }
        }
    }
    Ok(lines)
}
