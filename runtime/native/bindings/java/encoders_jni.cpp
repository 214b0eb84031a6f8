// The natives of dev.edgelora.Native for classifiers, taggers and embedders.
#include "natives.hpp"

using namespace edgelora;

namespace {

// Options as EncoderOptions.java tells them.
edgelora_encoder_options options_of(Call& call, jobjectArray texts, jlong cancel) {
  edgelora_encoder_options options;
  edgelora_encoder_options_init(&options, sizeof options);
  options.adapter = call.text(texts, 0);
  options.adapters_json = call.text(texts, 1);
  options.cancel = cancel_at(cancel);
  return options;
}

// Numbers that C gives, and what `counts` became: two arrays, as Encoded.java reads them.
template <typename Ask>
jobjectArray numbers_and_counts(Call& call, const std::vector<jlong>& counts, Ask ask) {
  const jfloatArray flat = taken<float>(call, ask);
  const jlongArray told = call.there(call.env->NewLongArray(static_cast<jsize>(counts.size())));
  call.env->SetLongArrayRegion(told, 0, static_cast<jsize>(counts.size()), counts.data());
  const jclass object = call.there(call.env->FindClass("java/lang/Object"));
  const jobjectArray found = call.there(call.env->NewObjectArray(2, object, nullptr));
  call.env->SetObjectArrayElement(found, 0, flat);
  call.env->SetObjectArrayElement(found, 1, told);
  return found;
}

}  // namespace

NATIVE(jbyteArray, labels)(JNIEnv* env, jclass native, jlong model, jbyteArray spec) {
  return run(env, native, [&](Call& call) {
    const char* const told = spec == nullptr ? nullptr : call.text(spec);
    return taken<char>(call, [&](auto... out) { return edgelora_labels(model_at(model), told, out...); });
  });
}

NATIVE(jbyteArray, encoded)(JNIEnv* env, jclass native, jlong model, jint form, jbyteArray asked, jobjectArray texts,
                            jlong cancel) {
  return run(env, native, [&](Call& call) {
    const edgelora_encoder_options options = options_of(call, texts, cancel);
    const std::string told = call.bytes(asked);
    return taken<char>(call, [&](auto... out) {
      switch (form) {
        case 0: return edgelora_classify(model_at(model), told.c_str(), &options, out...);
        case 1: return edgelora_classify_each(model_at(model), told.data(), told.size(), &options, out...);
        default: return edgelora_tag(model_at(model), told.c_str(), &options, out...);
      }
    });
  });
}

NATIVE(jbyteArray, encodedPixels)(JNIEnv* env, jclass native, jlong model, jint form, jfloatArray pixels,
                                  jobjectArray texts, jlong cancel) {
  return run(env, native, [&](Call& call) {
    const edgelora_encoder_options options = options_of(call, texts, cancel);
    const std::vector<float> told = call.floats(pixels);
    return taken<char>(call, [&](auto... out) {
      return form == 0 ? edgelora_classify_pixels(model_at(model), told.data(), told.size(), &options, out...)
                       : edgelora_classify_each_pixels(model_at(model), told.data(), told.size(), &options, out...);
    });
  });
}

NATIVE(jobjectArray, embed)(JNIEnv* env, jclass native, jlong model, jbyteArray asked, jint count, jobjectArray texts,
                            jlong cancel) {
  return run(env, native, [&](Call& call) {
    const edgelora_encoder_options options = options_of(call, texts, cancel);
    const char* const told = call.text(asked);
    std::vector<int32_t> cut(static_cast<size_t>(count));
    std::vector<jlong> counts(cut.size());
    return numbers_and_counts(call, counts, [&](float** vectors, size_t* n_floats, edgelora_error** error) {
      const edgelora_status status = edgelora_embed(model_at(model), told, &options, vectors, n_floats, cut.data(),
                                                    cut.size(), error);
      counts.assign(cut.begin(), cut.end());
      return status;
    });
  });
}

NATIVE(jobjectArray, outputs)(JNIEnv* env, jclass native, jlong model, jintArray ids, jlongArray lengths,
                              jobjectArray texts, jlong cancel) {
  return run(env, native, [&](Call& call) {
    const edgelora_encoder_options options = options_of(call, texts, cancel);
    const std::vector<int32_t> flat = call.ints(ids);
    const std::vector<size_t> sizes = call.sizes(lengths);
    std::vector<size_t> of_row(sizes.size());
    std::vector<jlong> counts(sizes.size());
    return numbers_and_counts(call, counts, [&](float** outputs, size_t* n_floats, edgelora_error** error) {
      const edgelora_status status = edgelora_outputs(model_at(model), flat.data(), sizes.data(), sizes.size(),
                                                      &options, outputs, n_floats, of_row.data(), error);
      counts.assign(of_row.begin(), of_row.end());
      return status;
    });
  });
}

NATIVE(jobjectArray, outputsOfPixels)(JNIEnv* env, jclass native, jlong model, jfloatArray pixels, jint count,
                                      jobjectArray texts, jlong cancel) {
  return run(env, native, [&](Call& call) {
    const edgelora_encoder_options options = options_of(call, texts, cancel);
    const std::vector<float> told = call.floats(pixels);
    std::vector<size_t> of_row(static_cast<size_t>(count));
    std::vector<jlong> counts(of_row.size());
    return numbers_and_counts(call, counts, [&](float** outputs, size_t* n_floats, edgelora_error** error) {
      const edgelora_status status =
          edgelora_outputs_of_pixels(model_at(model), told.data(), told.size(), &options, outputs, n_floats,
                                     of_row.data(), of_row.size(), error);
      counts.assign(of_row.begin(), of_row.end());
      return status;
    });
  });
}
