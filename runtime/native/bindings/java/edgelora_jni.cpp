// The natives of dev.edgelora.Native over edgelora.h. Texts cross as UTF-8 in byte arrays. What Java gives is copied
// before a call and what C gives after it, so that no array of Java's is pinned while a model works.
#include "natives.hpp"

using namespace edgelora;

namespace {

// Options as Options.java tells them.
edgelora_generate_options options_of(Call& call, jobjectArray texts, jdoubleArray reals, jlongArray numbers) {
  edgelora_generate_options options;
  edgelora_generate_options_init(&options, sizeof options);
  const std::vector<double> real = call.reals(reals);
  const std::vector<jlong> number = call.longs(numbers);
  options.temperature = real[0];
  options.top_p = real[1];
  options.min_p = real[2];
  options.repetition_penalty = real[3];
  options.max_new_tokens = static_cast<int32_t>(number[0]);
  options.top_k = static_cast<int32_t>(number[1]);
  options.has_seed = static_cast<int32_t>(number[2]);
  options.seed = static_cast<uint64_t>(number[3]);
  options.raw = static_cast<int32_t>(number[4]);
  options.cancel = cancel_at(number[5]);
  options.adapter = call.text(texts, 0);
  options.adapters_json = call.text(texts, 1);
  options.stop_json = call.text(texts, 2);
  options.choices_json = call.text(texts, 3);
  options.template_json = call.text(texts, 4);
  options.tools_json = call.text(texts, 5);
  options.date = call.text(texts, 6);
  return options;
}

edgelora_conversation conversation_of(Call& call, jobjectArray texts, jboolean no_generation_prompt) {
  edgelora_conversation found = {};
  found.struct_size = sizeof found;
  found.no_generation_prompt = no_generation_prompt;
  found.messages_json = call.text(texts, 0);
  found.tools_json = call.text(texts, 1);
  found.template_json = call.text(texts, 2);
  found.date = call.text(texts, 3);
  return found;
}

struct Stream {
  JNIEnv* env;
  jclass native;
  jmethodID take;
  jobject listener;
};

// After a listener has thrown, every row ends at its next piece, without another call into Java.
int32_t take_piece(void* user_data, size_t row, const char* text, size_t n_bytes) {
  const Stream& stream = *static_cast<Stream*>(user_data);
  JNIEnv* const env = stream.env;
  if (env->ExceptionCheck()) {
    return 1;
  }
  const jbyteArray piece = env->NewByteArray(static_cast<jsize>(n_bytes));
  if (piece == nullptr) {
    return 1;
  }
  env->SetByteArrayRegion(piece, 0, static_cast<jsize>(n_bytes), reinterpret_cast<const jbyte*>(text));
  const jboolean goes_on =
      env->CallStaticBooleanMethod(stream.native, stream.take, stream.listener, static_cast<jint>(row), piece);
  env->DeleteLocalRef(piece);
  return env->ExceptionCheck() || !goes_on;
}

// Ask for answers: five things for each row, as Answer.java reads them.
template <typename Ask>
jobjectArray answers(Call& call, Ask ask) {
  struct Owner {
    edgelora_generation* generation = nullptr;
    ~Owner() { edgelora_generation_free(generation); }
  } owner;
  call.checked([&](auto error) { return ask(&owner.generation, error); });
  const edgelora_generation* const given = owner.generation;
  JNIEnv* const env = call.env;
  const size_t rows = edgelora_generation_rows(given);
  const jclass object = call.there(env->FindClass("java/lang/Object"));
  const jobjectArray found = call.there(env->NewObjectArray(static_cast<jsize>(5 * rows), object, nullptr));
  jsize at = 0;
  const auto put = [&](jobject made) {
    env->SetObjectArrayElement(found, at++, made);
    env->DeleteLocalRef(made);
  };
  for (size_t row = 0; row < rows; ++row) {
    size_t n_bytes = 0;
    size_t n_ids = 0;
    size_t n_scores = 0;
    const char* const text = edgelora_generation_text(given, row, &n_bytes);
    const int32_t* const ids = edgelora_generation_ids(given, row, &n_ids);
    const double* const scores = edgelora_generation_scores(given, row, &n_scores);
    const jlong prompt_tokens = static_cast<jlong>(edgelora_generation_prompt_tokens(given, row));
    put(call.give(text, n_bytes));
    put(call.give(ids, n_ids));
    put(call.give(edgelora_generation_finish_reason(given, row)));
    const jlongArray tokens = call.there(env->NewLongArray(1));
    env->SetLongArrayRegion(tokens, 0, 1, &prompt_tokens);
    put(tokens);
    const jdoubleArray scored = call.there(env->NewDoubleArray(static_cast<jsize>(n_scores)));
    env->SetDoubleArrayRegion(scored, 0, static_cast<jsize>(n_scores), scores);
    put(scored);
  }
  return found;
}

}  // namespace

NATIVE(jbyteArray, version)(JNIEnv* env, jclass native) {
  return run(env, native, [](Call& call) { return call.give(edgelora_version()); });
}

NATIVE(jlong, createCancel)(JNIEnv* env, jclass native) {
  return run(env, native, [](Call& call) {
    edgelora_cancel* const made = edgelora_cancel_create();
    if (made == nullptr) {
      call.refuse(EDGELORA_MEMORY, "no memory for a cancel flag");
    }
    return address_of(made);
  });
}

NATIVE(void, freeCancel)(JNIEnv*, jclass, jlong cancel) { edgelora_cancel_free(cancel_at(cancel)); }
NATIVE(void, setCancel)(JNIEnv*, jclass, jlong cancel) { edgelora_cancel_set(cancel_at(cancel)); }
NATIVE(void, resetCancel)(JNIEnv*, jclass, jlong cancel) { edgelora_cancel_reset(cancel_at(cancel)); }

NATIVE(jlong, load)(JNIEnv* env, jclass native, jbyteArray path, jobjectArray texts, jlongArray numbers) {
  return run(env, native, [&](Call& call) {
    edgelora_load_options options;
    edgelora_load_options_init(&options, sizeof options);
    const std::vector<jlong> number = call.longs(numbers);
    options.threads = static_cast<int32_t>(number[0]);
    options.adapter_bytes = number[1];
    options.hashes = static_cast<int32_t>(number[2]);
    options.probe = static_cast<int32_t>(number[3]);
    options.twin = static_cast<int32_t>(number[4]);
    options.onnxruntime = call.text(texts, 0);
    options.cache = call.text(texts, 1);
    options.operators = call.text(texts, 2);
    edgelora_model* model = nullptr;
    const char* const folder = call.text(path);
    call.checked([&](auto error) { return edgelora_load(folder, &options, &model, error); });
    return address_of(model);
  });
}

NATIVE(void, freeModel)(JNIEnv*, jclass, jlong model) { edgelora_model_free(model_at(model)); }
NATIVE(jint, vocabSize)(JNIEnv*, jclass, jlong model) { return edgelora_vocab_size(model_at(model)); }
NATIVE(jint, contextLength)(JNIEnv*, jclass, jlong model) { return edgelora_context_length(model_at(model)); }

NATIVE(jbyteArray, info)(JNIEnv* env, jclass native, jlong model) {
  return run(env, native, [&](Call& call) {
    return taken<char>(call, [&](auto... out) { return edgelora_model_info(model_at(model), out...); });
  });
}

NATIVE(void, setAdapter)(JNIEnv* env, jclass native, jlong model, jbyteArray spec) {
  run(env, native, [&](Call& call) {
    const char* const told = call.text(spec);
    call.checked([&](auto error) { return edgelora_set_adapter(model_at(model), told, error); });
  });
}

NATIVE(void, loadAdapter)(JNIEnv* env, jclass native, jlong model, jbyteArray name, jbyteArray folder, jboolean trust) {
  run(env, native, [&](Call& call) {
    const char* const told = call.text(name);
    const char* const place = call.text(folder);
    call.checked([&](auto error) { return edgelora_load_adapter(model_at(model), told, place, trust, error); });
  });
}

NATIVE(void, loadAdapterWithLabels)(JNIEnv* env, jclass native, jlong model, jbyteArray name, jbyteArray folder,
                                    jbyteArray labels, jboolean trust) {
  run(env, native, [&](Call& call) {
    const char* const told = call.text(name);
    const char* const place = call.text(folder);
    const char* const names = call.text(labels);
    call.checked([&](auto error) {
      return edgelora_load_adapter_with_labels(model_at(model), told, place, names, trust, error);
    });
  });
}

NATIVE(void, unloadAdapter)(JNIEnv* env, jclass native, jlong model, jbyteArray name) {
  run(env, native, [&](Call& call) {
    const char* const told = call.text(name);
    call.checked([&](auto error) { return edgelora_unload_adapter(model_at(model), told, error); });
  });
}

NATIVE(jbyteArray, probe)(JNIEnv* env, jclass native, jlong model, jbyteArray name) {
  return run(env, native, [&](Call& call) {
    const char* const told = call.text(name);
    return taken<char>(call, [&](auto... out) { return edgelora_probe(model_at(model), told, out...); });
  });
}

NATIVE(jobjectArray, generate)(JNIEnv* env, jclass native, jlong model, jint form, jbyteArray asked, jobjectArray texts,
                               jdoubleArray reals, jlongArray numbers, jobject listener) {
  return run(env, native, [&](Call& call) {
    edgelora_generate_options options = options_of(call, texts, reals, numbers);
    const std::string told = call.bytes(asked);
    Stream stream = {env, native, nullptr, listener};
    if (listener != nullptr) {
      stream.take = call.there(env->GetStaticMethodID(native, "take", "(Ldev/edgelora/TextListener;I[B)Z"));
      options.on_text = take_piece;
      options.user_data = &stream;
    }
    const auto ask = [&](edgelora_generation** found, edgelora_error** error) {
      switch (form) {
        case 0: return edgelora_generate(model_at(model), told.data(), told.size(), &options, found, error);
        case 1: return edgelora_chat(model_at(model), told.c_str(), &options, found, error);
        default: return edgelora_generate_batch(model_at(model), told.c_str(), &options, found, error);
      }
    };
    return answers(call, ask);
  });
}

NATIVE(jobjectArray, generateIds)(JNIEnv* env, jclass native, jlong model, jintArray ids, jlongArray lengths,
                                  jobjectArray texts, jdoubleArray reals, jlongArray numbers) {
  return run(env, native, [&](Call& call) {
    const edgelora_generate_options options = options_of(call, texts, reals, numbers);
    const std::vector<int32_t> flat = call.ints(ids);
    const std::vector<size_t> sizes = call.sizes(lengths);
    return answers(call, [&](auto... out) {
      return edgelora_generate_ids(model_at(model), flat.data(), sizes.data(), sizes.size(), &options, out...);
    });
  });
}

NATIVE(jfloatArray, logits)(JNIEnv* env, jclass native, jlong model, jintArray ids, jbyteArray adapter,
                            jlongArray positions, jlong cancel, jint count) {
  return run(env, native, [&](Call& call) {
    const std::vector<int32_t> told = call.ints(ids);
    const std::vector<size_t> places = call.sizes(positions);
    const char* const spec = adapter == nullptr ? nullptr : call.text(adapter);
    std::vector<float> found(static_cast<size_t>(count));
    call.checked([&](auto error) {
      return edgelora_logits(model_at(model), told.data(), told.size(), spec, places.data(), places.size(),
                             cancel_at(cancel), found.data(), found.size(), error);
    });
    const jfloatArray made = call.there(env->NewFloatArray(count));
    env->SetFloatArrayRegion(made, 0, count, found.data());
    return made;
  });
}

NATIVE(jintArray, encode)(JNIEnv* env, jclass native, jlong model, jbyteArray text, jboolean special) {
  return run(env, native, [&](Call& call) {
    const std::string told = call.bytes(text);
    return taken<int32_t>(call, [&](auto... out) {
      return edgelora_encode(model_at(model), told.data(), told.size(), special, out...);
    });
  });
}

NATIVE(jbyteArray, decode)(JNIEnv* env, jclass native, jlong model, jintArray ids, jboolean special) {
  return run(env, native, [&](Call& call) {
    const std::vector<int32_t> told = call.ints(ids);
    return taken<char>(call, [&](auto... out) {
      return edgelora_decode(model_at(model), told.data(), told.size(), special, out...);
    });
  });
}

NATIVE(jbyteArray, render)(JNIEnv* env, jclass native, jlong model, jobjectArray conversation, jboolean no_prompt) {
  return run(env, native, [&](Call& call) {
    const edgelora_conversation told = conversation_of(call, conversation, no_prompt);
    return taken<char>(call, [&](auto... out) { return edgelora_render(model_at(model), &told, out...); });
  });
}

NATIVE(jbyteArray, renderTemplate)(JNIEnv* env, jclass native, jbyteArray source, jobjectArray conversation,
                                   jboolean no_prompt) {
  return run(env, native, [&](Call& call) {
    const std::string text = call.bytes(source);
    const edgelora_conversation told = conversation_of(call, conversation, no_prompt);
    return taken<char>(call, [&](auto... out) {
      return edgelora_render_template(text.data(), text.size(), &told, out...);
    });
  });
}

NATIVE(jintArray, encodeAfter)(JNIEnv* env, jclass native, jlong model, jbyteArray prompt, jbyteArray text,
                               jboolean special) {
  return run(env, native, [&](Call& call) {
    const std::string before = call.bytes(prompt);
    const std::string told = call.bytes(text);
    return taken<int32_t>(call, [&](auto... out) {
      return edgelora_encode_after(model_at(model), before.data(), before.size(), told.data(), told.size(), special,
                                   out...);
    });
  });
}

NATIVE(jintArray, encodeAnswer)(JNIEnv* env, jclass native, jlong model, jobjectArray conversation, jboolean no_prompt,
                                jbyteArray answer) {
  return run(env, native, [&](Call& call) {
    const edgelora_conversation before = conversation_of(call, conversation, no_prompt);
    const std::string told = call.bytes(answer);
    return taken<int32_t>(call, [&](auto... out) {
      return edgelora_encode_answer(model_at(model), &before, told.data(), told.size(), out...);
    });
  });
}

NATIVE(void, checkFile)(JNIEnv* env, jclass native, jbyteArray kind, jbyteArray content) {
  run(env, native, [&](Call& call) {
    const char* const what = call.text(kind);
    const std::string bytes = call.bytes(content);
    call.checked([&](auto error) { return edgelora_check_file(what, bytes.data(), bytes.size(), error); });
  });
}

NATIVE(jboolean, matchModule)(JNIEnv* env, jclass native, jbyteArray field, jbyteArray pattern, jbyteArray module) {
  return run(env, native, [&](Call& call) {
    const char* const what = call.text(field);
    const char* const told = call.text(pattern);
    const char* const name = call.text(module);
    int32_t matches = 0;
    call.checked([&](auto error) { return edgelora_match_module(what, told, name, &matches, error); });
    return static_cast<jboolean>(matches);
  });
}

NATIVE(jintArray, random)(JNIEnv* env, jclass native, jlong seed, jlong stream, jint count) {
  return run(env, native, [&](Call& call) {
    std::vector<uint32_t> found(static_cast<size_t>(count < 0 ? 0 : count));
    edgelora_random(static_cast<uint64_t>(seed), static_cast<uint64_t>(stream), found.data(), found.size());
    return call.give(reinterpret_cast<const int32_t*>(found.data()), found.size());
  });
}

NATIVE(jintArray, sample)(JNIEnv* env, jclass native, jfloatArray logits, jint width, jintArray prompt_ids, jlong row,
                          jobjectArray texts, jdoubleArray reals, jlongArray numbers) {
  return run(env, native, [&](Call& call) {
    const std::vector<float> flat = call.floats(logits);
    const std::vector<int32_t> prompt = call.ints(prompt_ids);
    const edgelora_generate_options options = options_of(call, texts, reals, numbers);
    std::vector<int32_t> found(width > 0 ? flat.size() / static_cast<size_t>(width) : 0);
    call.checked([&](auto error) {
      return edgelora_sample(flat.data(), found.size(), static_cast<size_t>(width), prompt.data(), prompt.size(),
                             static_cast<size_t>(row), &options, found.data(), error);
    });
    return call.give(found.data(), found.size());
  });
}
