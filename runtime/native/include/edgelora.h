/*
 * The C interface of EdgeLoRA: open an artifact, choose adapters by SPEC, get text, token ids or logits; or labels,
 * spans and vectors, from an artifact of a classifier, a tagger or an embedder.
 *
 * RULES THAT HOLD FOR EVERY FUNCTION
 *
 * Status.    A function that can fail returns an edgelora_status: EDGELORA_OK (0), or a code that says what kind of
 *            thing was wrong. No exception and no signal leaves the library.
 * Error.     Its last parameter is `edgelora_error **error`, which may be NULL. When the function fails, and only
 *            then, it puts a new object there; give it back with edgelora_error_free(). Whatever stood at *error
 *            before is overwritten, not freed. After success *error is NULL. Results are written after success alone:
 *            after a failure every other out parameter is NULL or 0, and memory of the caller's as it was.
 * Text.      UTF-8. A text with a length (`n_bytes`) beside it may hold zero bytes and needs none at its end; every
 *            other text ends with a zero byte. Text that is no UTF-8 is refused with EDGELORA_INVALID_INPUT. Texts
 *            that the library gives have a zero byte behind their end, which their length does not count.
 * JSON.      Parameters and results called `..._json` are JSON texts. A parameter of that kind may be NULL where its
 *            description says so, and is then as if it had not been given.
 * Ownership. What is passed in belongs to the caller, is copied where it is kept, and may be freed or changed when the
 *            function has returned. What comes out through `char **`, `int32_t **`, `float **` belongs to the caller and
 *            is given back with edgelora_free(). Handles have a free function of their own. Every free function takes
 *            NULL.
 *            `const` pointers that accessors return belong to the handle and live as long as it does.
 * Lengths.   `size_t`. A pointer beside a length of 0 may be NULL.
 * Threads.   Every function may be called from any thread. One model may be used by any number of threads: it answers
 *            one call at a time, and the others wait. Two handles never wait for each other. A handle must not be
 *            freed while another call uses it. Generations and errors are never changed after they were made, so that
 *            threads may read them together.
 * Callbacks. They run in the thread of the call that they were given to, before it returns. They must not throw. Of the
 *            model that they are called for they may use the functions of the section "text", and no others: such a
 *            call is refused with EDGELORA_INVALID_INPUT. They may set a cancel flag.
 * Versions.  Structures begin with `struct_size`, set by their `_init` function. Later versions add members at the end
 *            alone, and functions, and never change what is here: a program built with an older header goes on to
 *            work. EDGELORA_API_VERSION counts the additions.
 */
#ifndef EDGELORA_H
#define EDGELORA_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#  if defined(EDGELORA_BUILDING)
#    define EDGELORA_API __declspec(dllexport)
#  else
#    define EDGELORA_API __declspec(dllimport)
#  endif
#else
#  define EDGELORA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. edgelora_api_version() is that of the library; it must not be smaller. */
#define EDGELORA_API_VERSION 2

/* The version of the library's interface, and of the library itself ("0.1.0"; never freed). */
EDGELORA_API int32_t edgelora_api_version(void);
EDGELORA_API const char *edgelora_version(void);

/* ---------------------------------------------------------------------------------------------------- status --- */

typedef int32_t edgelora_status;

#define EDGELORA_OK 0
#define EDGELORA_INVALID_INPUT 1 /* a prompt, message, option or argument cannot be used as given */
#define EDGELORA_ARTIFACT 2      /* its files are missing, damaged or of another format, or it computes no numbers */
#define EDGELORA_ADAPTER 3       /* unknown name, malformed SPEC, or an adapter that does not fit */
#define EDGELORA_CANCELLED 4     /* a cancel flag was set */
#define EDGELORA_UNSUPPORTED 5   /* well formed, but not known to this library: a tokenizer, a template, onnxruntime */
#define EDGELORA_MEMORY 6        /* no memory */
#define EDGELORA_INTERNAL 7      /* a fault of the library itself; please report its message */

typedef struct edgelora_error edgelora_error;

/* The code that the function returned. EDGELORA_OK for NULL. */
EDGELORA_API edgelora_status edgelora_error_code(const edgelora_error *error);

/* One printable line: what was found, what was expected, what to do. "" for NULL. Lives as long as the error. */
EDGELORA_API const char *edgelora_error_message(const edgelora_error *error);
EDGELORA_API void edgelora_error_free(edgelora_error *error);

/* Gives back texts, token ids and numbers that a function wrote through `char **`, `int32_t **` or `float **`. */
EDGELORA_API void edgelora_free(void *memory);

/* ----------------------------------------------------------------------------------------------------- cancel --- */

/* A flag that ends calls from another thread. One flag may serve any number of calls, at once or one after another. */
typedef struct edgelora_cancel edgelora_cancel;

/* NULL when there is no memory. Free it when no call uses it any more. */
EDGELORA_API edgelora_cancel *edgelora_cancel_create(void);
EDGELORA_API void edgelora_cancel_free(edgelora_cancel *cancel);

/*
 * Set the flag: every call that has it ends soon, within a step of the model, with EDGELORA_CANCELLED, and so do later
 * ones until it is reset. Calls that wait for their turn give up too, within some 10 ms. Neither function waits.
 */
EDGELORA_API void edgelora_cancel_set(edgelora_cancel *cancel);
EDGELORA_API void edgelora_cancel_reset(edgelora_cancel *cancel);

/* ------------------------------------------------------------------------------------------------------- load --- */

/* A loaded artifact: graph, weights, KV cache, adapters, tokenizer. */
typedef struct edgelora_model edgelora_model;

typedef struct edgelora_load_options {
  uint32_t struct_size;
  int32_t threads;         /* for one matrix product; 0: the physical cores of the process, at most four */
  const char *onnxruntime; /* path of the onnxruntime library; NULL: the environment variable EDGELORA_ONNXRUNTIME,
                              else what the process has loaded or the system finds. The first one that a process
                              loads serves all its models */
  const char *cache;       /* a folder of the device where the graph is kept as onnxruntime optimized and packed it, so
                              that later loads map it; made where it is missing. NULL: nothing is kept */
  const char *operators;   /* path of libedgelora_ops, whose operators the artifact's fused graph needs; "" leaves
                              them, NULL: it is used when it stands beside this library */
  int64_t adapter_bytes;   /* memory for adapters: beyond it, those not used for longest are dropped, and read again
                              when asked for; 0: no bound */
  int32_t hashes;          /* 1: check every byte of every file. Else sizes and small files, of adapters when used */
  int32_t probe;           /* 1: hold every adapter to its receipt by replaying a probe */
  int32_t twin;            /* 1: keep the graph without slots beside the one with slots, so that calls without an
                              adapter are at any time as fast as the bare base */
  int32_t reserved;        /* 0 */
} edgelora_load_options;

/* Write the defaults. `struct_size` is sizeof(edgelora_load_options) as the caller knows it. */
EDGELORA_API void edgelora_load_options_init(edgelora_load_options *options, size_t struct_size);

/*
 * Open the artifact in the folder `path`; `options` may be NULL. *model is to be freed with edgelora_model_free().
 * EDGELORA_ARTIFACT: a file is missing or damaged. EDGELORA_ADAPTER: with `probe`, an adapter is not what its receipt
 * says. EDGELORA_UNSUPPORTED: onnxruntime was not found or is too old, or the artifact needs what is not there.
 */
EDGELORA_API edgelora_status edgelora_load(const char *path, const edgelora_load_options *options,
                                           edgelora_model **model, edgelora_error **error);

/* Let go of everything. No call may be using the model; generations live on. */
EDGELORA_API void edgelora_model_free(edgelora_model *model);

/* Token ids go from 0 to the vocabulary size - 1 (0: it reads images); a row holds at most the context length. 0 for
   NULL. */
EDGELORA_API int32_t edgelora_vocab_size(const edgelora_model *model);
EDGELORA_API int32_t edgelora_context_length(const edgelora_model *model);

/*
 * What is loaded, as a JSON object: "manifest" (the artifact's manifest.json as it stands), "adapters" (the names that
 * a SPEC can use now), "adapter" (the SPEC that is set), "has_tokenizer", "has_template", "threads",
 * "onnxruntime" (its version), "operators" (whether the fused graph is used).
 */
EDGELORA_API edgelora_status edgelora_model_info(edgelora_model *model, char **info_json, size_t *n_bytes,
                                                 edgelora_error **error);

/* --------------------------------------------------------------------------------------------------- adapters --- */

/*
 * A SPEC says which adapters act: "none", "NAME", "NAME:0.5", or a blend "A:0.7+B:0.3". Adapters are read, checked and
 * packed when they are first used. Changing the adapter drops the KV cache, but for what the base computed before the
 * invocation of an activated adapter (aLoRA). Such an adapter acts from its invocation on, is refused for a prompt that
 * lacks it, and has no place in a blend.
 */

/* Use `spec` where a call gives none ("none" after loading). Reads and binds its adapters now. */
EDGELORA_API edgelora_status edgelora_set_adapter(edgelora_model *model, const char *spec, edgelora_error **error);

/*
 * Make the PEFT folder known as `name`, in place of an adapter of that name if there is one. Refused when it does not
 * fit the model, or its receipt names another base, grid, tokenizer or template; `trust` 1 leaves the receipt unread.
 * Nothing is written to the artifact.
 */
EDGELORA_API edgelora_status edgelora_load_adapter(edgelora_model *model, const char *name, const char *folder,
                                                   int32_t trust, edgelora_error **error);

/*
 * The same with the labels of the adapter's head, a JSON list of texts in the order of its rows, where no receipt has
 * them. EDGELORA_ADAPTER where the receipt has others, or their number is not that of the rows. `trust` takes a head
 * that was never trained, too. Since version 2.
 */
EDGELORA_API edgelora_status edgelora_load_adapter_with_labels(edgelora_model *model, const char *name,
                                                               const char *folder, const char *labels_json,
                                                               int32_t trust, edgelora_error **error);

/* Forget `name` and give its memory back. Refused for an unknown name and for one that is set. */
EDGELORA_API edgelora_status edgelora_unload_adapter(edgelora_model *model, const char *name, edgelora_error **error);

/*
 * Hold an adapter to its receipt, and replay a probe of it. *result_json is an object with "kl_found", "kl_expected"
 * (nats), "seconds" and "reason", or null where the adapter has no receipt or the receipt no probe. Of classifiers,
 * taggers and embedders the recorded answers are replayed, and the object has "effect_found" and "effect_expected", the
 * root mean square of what the factors change, in place of the first two. EDGELORA_ADAPTER when the adapter does
 * nothing here, or not what its receipt says.
 */
EDGELORA_API edgelora_status edgelora_probe(edgelora_model *model, const char *name, char **result_json,
                                            size_t *n_bytes, edgelora_error **error);

/* --------------------------------------------------------------------------------------------------- generate --- */

/*
 * Text as it is made: never empty, whole UTF-8 characters, nothing of a stop string. `row` is the index of the prompt.
 * Return 0 to go on; anything else ends that row, whose finish reason is then "cancelled".
 */
typedef int32_t (*edgelora_on_text)(void *user_data, size_t row, const char *text, size_t n_bytes);

/* Each token id as it is chosen, without the end token. The same return value. */
typedef int32_t (*edgelora_on_token)(void *user_data, size_t row, int32_t token_id);

typedef struct edgelora_generate_options {
  uint32_t struct_size;
  int32_t max_new_tokens;    /* longest answer; from 1, default 128 */
  double temperature;        /* 0 (default) takes the likeliest token */
  double top_p;              /* above 0 up to 1 (default): the fewest tokens that are this likely together */
  double min_p;              /* 0 (default) to 1: leave out tokens less likely than this share of the likeliest */
  double repetition_penalty; /* above 1 (default), tokens that the text already holds become less likely */
  int32_t top_k;             /* this many of the likeliest tokens; 0 (default): all */
  int32_t has_seed;          /* 1: draw with `seed`; the same answer on every device. 0 (default): from chance */
  uint64_t seed;
  const char *adapter;       /* SPEC for every row; NULL (default): the one that is set */
  const char *adapters_json; /* a list with one SPEC for each row, instead of `adapter`; NULL (default) */
  const char *stop_json;     /* a list of texts that end the answer before them; NULL (default): none */
  const char *choices_json;  /* a list of texts, one of which is the answer: the likeliest; NULL (default) */
  const char *template_json; /* an object of variables for the chat template, {"enable_thinking": false}; NULL */
  const char *tools_json;    /* a list of JSON schemas of functions, for templates that know them; NULL (default) */
  const char *date;          /* YYYY-MM-DD, the day that a template writes; NULL (default): today */
  int32_t raw;               /* 1: continue the text as it is, without the chat template; 0 (default) */
  int32_t reserved;          /* 0 */
  edgelora_cancel *cancel;   /* ends the call from another thread; NULL (default) */
  edgelora_on_text on_text;  /* NULL (default): no stream. Excludes choices */
  edgelora_on_token on_token; /* NULL (default). Excludes choices */
  void *user_data;            /* given to both */
} edgelora_generate_options;

/* Write the defaults. `struct_size` is sizeof(edgelora_generate_options) as the caller knows it. */
EDGELORA_API void edgelora_generate_options_init(edgelora_generate_options *options, size_t struct_size);

/* The answers of one call, one for each prompt ("row"), in their order. Complete, and independent of the model. */
typedef struct edgelora_generation edgelora_generation;

/* Answer one prompt: through the chat template as a message of the user, or as it is with `raw`. */
EDGELORA_API edgelora_status edgelora_generate(edgelora_model *model, const char *prompt, size_t n_bytes,
                                               const edgelora_generate_options *options,
                                               edgelora_generation **generation, edgelora_error **error);

/*
 * Answer a conversation: a JSON list of {"role", "content"}, content a text or a list of {"type": "text", "text"},
 * and, for templates that know them, "tool_calls". `raw` is refused.
 */
EDGELORA_API edgelora_status edgelora_chat(edgelora_model *model, const char *messages_json,
                                           const edgelora_generate_options *options,
                                           edgelora_generation **generation, edgelora_error **error);

/* Answer several prompts, a JSON list of texts, together: rows of one batch, each with its own adapter if need be. */
EDGELORA_API edgelora_status edgelora_generate_batch(edgelora_model *model, const char *prompts_json,
                                                     const edgelora_generate_options *options,
                                                     edgelora_generation **generation, edgelora_error **error);

/*
 * Continue token ids. `lengths` holds the number of ids of each of `n_rows` rows, which lie one after the other in
 * `ids`. Answers have token ids and no text. What belongs to text is refused: stop, choices, template, tools, date,
 * raw, on_text.
 */
EDGELORA_API edgelora_status edgelora_generate_ids(edgelora_model *model, const int32_t *ids, const size_t *lengths,
                                                   size_t n_rows, const edgelora_generate_options *options,
                                                   edgelora_generation **generation, edgelora_error **error);

/*
 * Logits after the tokens at `positions` of `ids`, into `logits`, room for `n_logits` floats: exactly n_positions times
 * the vocabulary size, row after row. `adapter` is a SPEC or NULL, `cancel` may be NULL.
 */
EDGELORA_API edgelora_status edgelora_logits(edgelora_model *model, const int32_t *ids, size_t n_ids,
                                             const char *adapter, const size_t *positions, size_t n_positions,
                                             edgelora_cancel *cancel, float *logits, size_t n_logits,
                                             edgelora_error **error);

/* Accessors. A row that is not there has no text (""), no ids, no scores (NULL), reason "" and 0 prompt tokens. */
EDGELORA_API size_t edgelora_generation_rows(const edgelora_generation *generation);

/* The text without stop strings and special tokens; `n_bytes` may be NULL. */
EDGELORA_API const char *edgelora_generation_text(const edgelora_generation *generation, size_t row, size_t *n_bytes);

/* The token ids of the answer, without the end token. */
EDGELORA_API const int32_t *edgelora_generation_ids(const edgelora_generation *generation, size_t row, size_t *n_ids);

/* "stop" (end token or stop string), "length", "choice", or "cancelled" (a callback ended the row). */
EDGELORA_API const char *edgelora_generation_finish_reason(const edgelora_generation *generation, size_t row);

/* Tokens of the prompt as the model got it. */
EDGELORA_API size_t edgelora_generation_prompt_tokens(const edgelora_generation *generation, size_t row);

/* With choices: the log-probability of each, in their order. */
EDGELORA_API const double *edgelora_generation_scores(const edgelora_generation *generation, size_t row,
                                                      size_t *n_scores);
EDGELORA_API void edgelora_generation_free(edgelora_generation *generation);

/* --------------------------------------------------------------------------------- classify, tag and embed --- */

/* For artifacts of classifiers, taggers and embedders; a part of this header for itself, as it is long. */
#include "edgelora_encoders.h"

/* ------------------------------------------------------------------------------------------------------- text --- */

/* Token ids of a text; `special` 1 adds the tokenizer's own special tokens. These calls wait for no answer. */
EDGELORA_API edgelora_status edgelora_encode(edgelora_model *model, const char *text, size_t n_bytes, int32_t special,
                                             int32_t **ids, size_t *n_ids, edgelora_error **error);

/* The text of token ids; `special` 1 writes special tokens too. Bytes that are no UTF-8 become U+FFFD. */
EDGELORA_API edgelora_status edgelora_decode(edgelora_model *model, const int32_t *ids, size_t n_ids, int32_t special,
                                             char **text, size_t *n_bytes, edgelora_error **error);

/* What a conversation is for the chat template. Set struct_size to sizeof(edgelora_conversation), the rest to 0. */
typedef struct edgelora_conversation {
  uint32_t struct_size;
  int32_t no_generation_prompt; /* 1: leave out what opens the model's answer */
  const char *messages_json;    /* as for edgelora_chat */
  const char *tools_json;       /* NULL: none */
  const char *template_json;    /* variables; NULL: those of the artifact alone */
  const char *date;             /* YYYY-MM-DD; NULL: today */
} edgelora_conversation;

/* The text of a conversation, to be encoded without adding special tokens. */
EDGELORA_API edgelora_status edgelora_render(edgelora_model *model, const edgelora_conversation *conversation,
                                             char **text, size_t *n_bytes, edgelora_error **error);

/* The same with a chat template of the caller's, without an artifact; `template_json` holds special tokens, too. */
EDGELORA_API edgelora_status edgelora_render_template(const char *source, size_t n_source_bytes,
                                                      const edgelora_conversation *conversation, char **text,
                                                      size_t *n_bytes, edgelora_error **error);

/* Token ids of `text` where it stands behind the raw text `prompt` ("after" of the conformance cases). */
EDGELORA_API edgelora_status edgelora_encode_after(edgelora_model *model, const char *prompt, size_t n_prompt_bytes,
                                                   const char *text, size_t n_bytes, int32_t special, int32_t **ids,
                                                   size_t *n_ids, edgelora_error **error);

/* Token ids of `answer` behind a conversation, as training learns it and choices score it ("answer"). */
EDGELORA_API edgelora_status edgelora_encode_answer(edgelora_model *model, const edgelora_conversation *conversation,
                                                    const char *answer, size_t n_bytes, int32_t **ids, size_t *n_ids,
                                                    edgelora_error **error);

/* ------------------------------------------------------------------------------------- readers and arithmetic --- */

/*
 * Hold the content of one file to the format: `kind` is "manifest", "receipt", "adapter_config" or "safetensors".
 * Needs no artifact.
 */
EDGELORA_API edgelora_status edgelora_check_file(const char *kind, const void *bytes, size_t n_bytes,
                                                 edgelora_error **error);

/* Whether PEFT's `field` ("target_modules" or "rank_pattern") with `pattern` names `module`: *matches is 1 or 0. */
EDGELORA_API edgelora_status edgelora_match_module(const char *field, const char *pattern, const char *module,
                                                   int32_t *matches, edgelora_error **error);

/* The first `n_numbers` numbers of the generator that seeded draws use. */
EDGELORA_API void edgelora_random(uint64_t seed, uint64_t stream, uint32_t *numbers, size_t n_numbers);

/*
 * Choose a token for each of `n_steps` rows of `n_logits` logits, in order, as row `row` of a batch whose prompt was
 * `prompt_ids` would; `ids` has room for `n_steps`. Of `options` (NULL: greedy) only those of sampling count.
 */
EDGELORA_API edgelora_status edgelora_sample(const float *logits, size_t n_steps, size_t n_logits,
                                             const int32_t *prompt_ids, size_t n_prompt_ids, size_t row,
                                             const edgelora_generate_options *options, int32_t *ids,
                                             edgelora_error **error);

#ifdef __cplusplus
}
#endif
#endif
