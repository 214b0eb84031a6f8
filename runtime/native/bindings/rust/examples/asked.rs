//! Answers questions on standard input through the binding; `bindings/README.md` says how they are written.

use edgelora::{Conversation, EncoderOptions, Error, LoadOptions, Model, Options, Result};
use std::io::{Read, Write};

fn main() {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut model = None;
    while let Some(fields) = read(&mut input) {
        let found = match answer(&mut model, &fields) {
            Ok(found) => [vec![b"ok".to_vec()], found].concat(),
            Err(error) => {
                vec![b"error".to_vec(), error.code.number().to_string().into_bytes(), error.message.into_bytes()]
            }
        };
        write(&mut output, &found);
    }
}

fn answer(loaded: &mut Option<Model>, fields: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let text = |index: usize| std::str::from_utf8(&fields[index]).expect("texts of the tests are UTF-8");
    let model = || loaded.as_ref().expect("the first question loads a model");
    let found = match text(0) {
        "load" => {
            *loaded = None;
            let hashes = !text(1).ends_with("tiny-wrong"); // they look at every entry and file
            *loaded = Some(Model::load(text(1), &LoadOptions { hashes, ..LoadOptions::default() })?);
            vec![]
        }
        "info" => vec![model().info()?.into_bytes()],
        "set_adapter" => model().set_adapter(text(1)).map(|()| vec![])?,
        "load_adapter" => model().load_adapter(text(1), text(2), false).map(|()| vec![])?,
        "load_adapter_with_labels" => {
            let labels: Vec<&str> = (4..fields.len()).map(text).collect();
            model().load_adapter_with_labels(text(1), text(2), &labels, text(3) == "1").map(|()| vec![])?
        }
        "labels" => vec![model().labels(Some(text(1)))?.into_bytes()],
        "classify" => vec![model().classify(&texts(fields), &encoder_options(text(1)))?.into_bytes()],
        "tag" => vec![model().tag(&texts(fields), &encoder_options(text(1)))?.into_bytes()],
        "each" => vec![model().classify_each(text(2), &encoder_options(text(1)))?.into_bytes()],
        "classify_pixels" => {
            vec![model().classify_pixels(&floats(&fields[2]), &encoder_options(text(1)))?.into_bytes()]
        }
        "embed" => {
            let found = model().embed(&texts(fields), &encoder_options(text(1)))?;
            let cut: Vec<i32> = found.truncated.iter().map(|&is_cut| is_cut.into()).collect();
            [vec![joined(&cut)], found.vectors.iter().map(|row| bytes(row)).collect()].concat()
        }
        "outputs" => {
            let rows: Vec<Vec<i32>> = text(2).split('\n').map(numbers).collect();
            model().outputs(&rows, &encoder_options(text(1)))?.iter().map(|row| bytes(row)).collect()
        }
        "outputs_of_pixels" => {
            let n_images: Vec<usize> = numbers(text(2));
            let found = model().outputs_of_pixels(&floats(&fields[3]), n_images[0], &encoder_options(text(1)))?;
            found.iter().map(|row| bytes(row)).collect()
        }
        "unload_adapter" => model().unload_adapter(text(1)).map(|()| vec![])?,
        "probe" => vec![model().probe(text(1))?.into_bytes()],
        "generate" => answers(vec![model().generate(text(1), &options(text(2))?)?]),
        "stream" => {
            let mut pieces = vec![];
            let told = model().stream(text(1), &options(text(2))?, |piece| {
                pieces.push(piece.as_bytes().to_vec());
                true
            })?;
            [answers(vec![told]), pieces].concat()
        }
        "chat" => answers(vec![model().chat(text(1), &options(text(2))?)?]),
        "batch" => {
            let prompts: Vec<&str> = (2..fields.len()).map(text).collect();
            answers(model().generate_batch(&prompts, &options(text(1))?)?)
        }
        "ids" => {
            let rows: Vec<Vec<i32>> = text(1).split('\n').map(numbers).collect();
            answers(model().generate_ids(&rows, &options(text(2))?)?)
        }
        "logits" => {
            let positions: Vec<usize> = numbers(text(3));
            let rows = model().logits(&numbers::<i32>(text(1)), Some(text(2)), &positions)?;
            rows.iter().map(|row| bytes(row)).collect()
        }
        "encode" => vec![joined(&model().encode(text(1), text(2) == "1")?)],
        "decode" => vec![model().decode(&numbers::<i32>(text(1)), text(2) == "1")?.into_bytes()],
        "render" => vec![model().render(&conversation(text(1)))?.into_bytes()],
        "render_template" => vec![edgelora::render_template(text(1), &conversation(text(2)))?.into_bytes()],
        "encode_after" => vec![joined(&model().encode_after(text(1), text(2), text(3) == "1")?)],
        "encode_answer" => vec![joined(&model().encode_answer(&conversation(text(1)), text(2))?)],
        "check_file" => edgelora::check_file(text(1), &fields[2]).map(|()| vec![])?,
        "match_module" => {
            let matches = edgelora::match_module(text(1), text(2), text(3))?;
            vec![i32::from(matches).to_string().into_bytes()]
        }
        "random" => {
            let given: Vec<u64> = numbers(text(1));
            vec![joined(&edgelora::random(given[0], given[1], given[2] as usize))]
        }
        "sample" => {
            let rows: Vec<Vec<f32>> = fields[4..].iter().map(|row| floats(row)).collect();
            let row: Vec<usize> = numbers(text(2));
            vec![joined(&edgelora::sample(&rows, &numbers::<i32>(text(1)), row[0], &options(text(3))?)?)]
        }
        other => panic!("{other:?} is no question"),
    };
    Ok(found)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The texts behind the options.
fn texts(fields: &[Vec<u8>]) -> Vec<&str> {
    fields[2..].iter().map(|field| std::str::from_utf8(field).expect("texts of the tests are UTF-8")).collect()
}

fn encoder_options(told: &str) -> EncoderOptions {
    let mut found = EncoderOptions::default();
    for (name, value) in pairs(told) {
        match name {
            "adapter" => found.adapter = Some(value.into()),
            "adapters" => found.adapters.push(value.into()),
            other => panic!("{other:?} is no option of an encoder"),
        }
    }
    found
}

/// Five fields for each answer.
fn answers(found: Vec<edgelora::Answer>) -> Vec<Vec<u8>> {
    let told = |answer: edgelora::Answer| {
        let scores: Vec<String> = answer.scores.iter().map(|score| format!("{score:?}")).collect();
        let ids = joined(&answer.token_ids);
        let prompt_tokens = answer.prompt_tokens.to_string().into_bytes();
        [answer.text.into_bytes(), ids, answer.finish_reason.into_bytes(), prompt_tokens, scores.join(" ").into_bytes()]
    };
    found.into_iter().flat_map(told).collect()
}

/// Lines of `name=value`; lists come one line for each item.
fn pairs(told: &str) -> impl Iterator<Item = (&str, &str)> {
    told.split('\u{1e}').filter_map(|line| line.split_once('='))
}

fn options(told: &str) -> Result<Options> {
    let mut found = Options::default();
    for (name, value) in pairs(told) {
        let number = || value.parse::<f64>().map_err(|_| unreadable(name, value));
        match name {
            "adapter" => found.adapter = Some(value.into()),
            "adapters" => found.adapters.push(value.into()),
            "stop" => found.stop.push(value.into()),
            "choices" => found.choices.push(value.into()),
            "max_new_tokens" => found.max_new_tokens = number()? as i32,
            "temperature" => found.temperature = number()?,
            "top_k" => found.top_k = number()? as i32,
            "top_p" => found.top_p = number()?,
            "min_p" => found.min_p = number()?,
            "repetition_penalty" => found.repetition_penalty = number()?,
            "seed" => found.seed = Some(value.parse().map_err(|_| unreadable(name, value))?),
            "raw" => found.raw = value == "1",
            other => panic!("{other:?} is no option"),
        }
    }
    Ok(found)
}

fn unreadable(name: &str, value: &str) -> Error {
    Error { code: edgelora::Code::InvalidInput, message: format!("{name} is {value:?}, expected a number") }
}

fn conversation(told: &str) -> Conversation {
    let mut found = Conversation::default();
    for (name, value) in pairs(told) {
        match name {
            "messages" => found.messages_json = value.into(),
            "tools" => found.tools_json = Some(value.into()),
            "template" => found.template_json = Some(value.into()),
            "date" => found.date = Some(value.into()),
            "no_generation_prompt" => found.no_generation_prompt = value == "1",
            other => panic!("{other:?} belongs to no conversation"),
        }
    }
    found
}

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T>
where
    T::Err: std::fmt::Debug,
{
    text.split(' ').filter(|item| !item.is_empty()).map(|item| item.parse().expect("a number")).collect()
}

fn joined<T: ToString>(values: &[T]) -> Vec<u8> {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into_bytes()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

fn read(input: &mut impl Read) -> Option<Vec<Vec<u8>>> {
    let count = read_size(input)?;
    (0..count)
        .map(|_| {
            let mut field = vec![0; read_size(input)?];
            input.read_exact(&mut field).ok()?;
            Some(field)
        })
        .collect()
}

fn read_size(input: &mut impl Read) -> Option<usize> {
    let mut size = [0; 4];
    input.read_exact(&mut size).ok()?;
    Some(u32::from_le_bytes(size) as usize)
}

fn write(output: &mut impl Write, fields: &[Vec<u8>]) {
    let mut bytes = (fields.len() as u32).to_le_bytes().to_vec();
    for field in fields {
        bytes.extend((field.len() as u32).to_le_bytes());
        bytes.extend(field);
    }
    output.write_all(&bytes).and_then(|()| output.flush()).expect("somebody asked");
}
