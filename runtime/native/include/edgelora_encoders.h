/*
 * The part of edgelora.h for classifiers, taggers and embedders. edgelora.h includes it, and its rules hold here, too.
 */
#ifndef EDGELORA_ENCODERS_H
#define EDGELORA_ENCODERS_H

#include "edgelora.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * For artifacts whose manifest has another "task" than text-generation; edgelora_generate and the like refuse them with
 * EDGELORA_INVALID_INPUT, and these functions refuse all others, and tasks that are not theirs. Texts are computed in
 * groups that are about as long, and answered in the order given. All of this since version 2.
 */
typedef struct edgelora_encoder_options {
  uint32_t struct_size;
  int32_t reserved;          /* 0 */
  const char *adapter;       /* SPEC for every text; NULL (default): the one that is set */
  const char *adapters_json; /* a list with one SPEC for each text, instead of `adapter`; NULL (default) */
  edgelora_cancel *cancel;   /* ends the call from another thread; NULL (default) */
} edgelora_encoder_options;

/* Write the defaults. `struct_size` is sizeof(edgelora_encoder_options) as the caller knows it. */
EDGELORA_API void edgelora_encoder_options_init(edgelora_encoder_options *options, size_t struct_size);

/*
 * What the head of `spec` (NULL: the SPEC that is set) answers with: an object with "labels" in the order of its rows,
 * "problem_type" and "temperature", or null where the model has no head. EDGELORA_ADAPTER where neither the adapter nor
 * the base has a whole one, and for blends of adapters with other labels.
 */
EDGELORA_API edgelora_status edgelora_labels(edgelora_model *model, const char *spec, char **labels_json,
                                             size_t *n_bytes, edgelora_error **error);

/*
 * Classify a JSON list of texts. *answers_json is a list with an object for each: "label" (the likeliest), "score" (of
 * it), "scores" (an object, label to calibrated score, in the order of the head), "labels" (those that hold: one, or of
 * several that may hold each whose score is at least 0.5) and "truncated" (whether the text was longer than the model
 * reads, and lost its end).
 */
EDGELORA_API edgelora_status edgelora_classify(edgelora_model *model, const char *texts_json,
                                               const edgelora_encoder_options *options, char **answers_json,
                                               size_t *n_bytes, edgelora_error **error);

/*
 * The same for images: `n_pixels` floats as the model's own processor makes them, one image after the other, each
 * (channels, height, width) as the manifest's encoder.image_size says.
 */
EDGELORA_API edgelora_status edgelora_classify_pixels(edgelora_model *model, const float *pixels, size_t n_pixels,
                                                      const edgelora_encoder_options *options, char **answers_json,
                                                      size_t *n_bytes, edgelora_error **error);

/*
 * What each of the SPECs in `adapters_json` of the options says of one text, or image; without it, each adapter that is
 * known. *answers_json is an object, SPEC to what edgelora_classify tells. A short text goes through the graph once for
 * all, unless the artifact's rows must share an adapter (encoder.one_adapter). `adapter` of the options is refused.
 */
EDGELORA_API edgelora_status edgelora_classify_each(edgelora_model *model, const char *text, size_t n_text_bytes,
                                                    const edgelora_encoder_options *options, char **answers_json,
                                                    size_t *n_bytes, edgelora_error **error);
EDGELORA_API edgelora_status edgelora_classify_each_pixels(edgelora_model *model, const float *pixels,
                                                           size_t n_pixels, const edgelora_encoder_options *options,
                                                           char **answers_json, size_t *n_bytes,
                                                           edgelora_error **error);

/*
 * Tag a JSON list of texts. *answers_json is a list with an object for each: "spans" (each "start" and "end" in code
 * points of the text as it was given, "label", "score", "text") and "windows" (in how many overlapping parts the text
 * was read; more than 1 where it is longer than the model reads at once).
 */
EDGELORA_API edgelora_status edgelora_tag(edgelora_model *model, const char *texts_json,
                                          const edgelora_encoder_options *options, char **answers_json,
                                          size_t *n_bytes, edgelora_error **error);

/*
 * Vectors of a JSON list of texts: *vectors has *n_floats, one vector after the other, each as long as the manifest's
 * encoder.hidden_size. `truncated`, room for `n_truncated`, which is the number of texts, gets 1 for each text that was
 * longer than the model reads and lost its end, else 0; it may be NULL.
 */
EDGELORA_API edgelora_status edgelora_embed(edgelora_model *model, const char *texts_json,
                                            const edgelora_encoder_options *options, float **vectors,
                                            size_t *n_floats, int32_t *truncated, size_t n_truncated,
                                            edgelora_error **error);

/*
 * What the graph itself gives for rows of token ids, special tokens included, which lie one after the other in `ids`:
 * logits, for taggers those of every token, or a vector. *outputs has *n_floats, one row after the other; `n_of_row`,
 * room for `n_rows`, gets how many belong to each, and may be NULL.
 */
EDGELORA_API edgelora_status edgelora_outputs(edgelora_model *model, const int32_t *ids, const size_t *lengths,
                                              size_t n_rows, const edgelora_encoder_options *options, float **outputs,
                                              size_t *n_floats, size_t *n_of_row, edgelora_error **error);

/* The same for images, as edgelora_classify_pixels takes them; `n_rows` is their number, or any beside a NULL
   n_of_row. */
EDGELORA_API edgelora_status edgelora_outputs_of_pixels(edgelora_model *model, const float *pixels, size_t n_pixels,
                                                        const edgelora_encoder_options *options, float **outputs,
                                                        size_t *n_floats, size_t *n_of_row, size_t n_rows,
                                                        edgelora_error **error);

#ifdef __cplusplus
}
#endif
#endif
