// calls FOLDER: hold one model to what it promises to callers of several threads; FOLDER is `runtime/conformance`.
//
// Prints what did not hold and ends with 1 then; with 2 where it cannot run. EDGELORA_ONNXRUNTIME names the library.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <future>
#include <thread>

#include "token_model.hpp"

namespace {

using namespace edgelora;
namespace fs = std::filesystem;

const Ids kPrompt = {7, 8, 9, 200, 31, 4};
const Specs kSpecs = {"none", "one", "four", "eight", "four:0.5", "one:0.7+eight:0.3"};
constexpr std::chrono::seconds kLongest{60};  // until something that must happen has happened

Request request_of(std::int64_t max_new_tokens) {
    Request request;
    request.max_new_tokens = max_new_tokens;
    return request;
}

Ids answer(TokenModel& model, const std::string& spec, std::int64_t count = 16) {
    return model.generate_ids({kPrompt}, {spec}, request_of(count)).front().ids;
}

// The error that `call` throws; nothing where it throws none.
std::optional<Error> error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return error;
    }
    return std::nullopt;
}

bool says(const std::optional<Error>& error, Code code, const std::string& words) {
    return error && error->code == code && std::string(error->what()).find(words) != std::string::npos;
}

class Checks {
  public:
    explicit Checks(fs::path folder) : folder_(std::move(folder)) {}

    int run() {
        many_threads();
        cancel_while_answering();
        cancel_while_waiting();
        replace_while_answering();
        budget();
        unload_while_answering();
        callback_of_the_same_thread();
        row_that_is_ended();
        close_while_others_wait();
        cache_that_grows();
        std::printf("%d checks, %d failed\n", n_checks_, n_failed_);
        return n_failed_ > 0 ? 1 : 0;
    }

  private:
    void expect(bool holds, const char* what) {
        ++n_checks_;
        if (!holds) {
            ++n_failed_;
            std::printf("failed: %s\n", what);
        }
    }

    std::unique_ptr<TokenModel> load(const std::string& name, LoadOptions options = {}) const {
        options.threads = 1;
        return TokenModel::load(folder_ / name, options);
    }

    std::vector<Ids> answers_alone(const std::string& name) const {
        std::vector<Ids> found;
        for (const std::string& spec : kSpecs) {
            found.push_back(answer(*load(name), spec));
        }
        return found;
    }

    void many_threads() {
        const std::vector<Ids> expected = answers_alone("tiny-int4");
        const auto model = load("tiny-int4");
        std::atomic<int> n_wrong{0};
        std::vector<std::thread> threads;
        for (std::size_t first = 0; first < 8; ++first) {
            threads.emplace_back([&, first] {
                for (std::size_t round = 0; round < 12; ++round) {
                    const std::size_t index = (first + round) % kSpecs.size();
                    n_wrong += answer(*model, kSpecs[index]) == expected[index] ? 0 : 1;
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        expect(n_wrong == 0, "many threads get the answers that each gets alone");
    }

    void cancel_while_answering() {
        const auto model = load("tiny-float");
        const Ids expected = answer(*model, "four", 200);
        Cancel cancel;
        std::promise<void> third;
        std::atomic<int> n_tokens{0};
        const auto on_token = [&](std::size_t, std::int32_t) {
            if (++n_tokens == 3) {
                third.set_value();
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            return true;
        };
        auto call = std::async(std::launch::async, [&] {
            return error_of([&] { model->generate_ids({kPrompt}, {"four"}, request_of(200), &cancel, on_token); });
        });
        third.get_future().wait_for(kLongest);
        cancel.request();
        expect(says(call.get(), Code::cancelled, "the call was cancelled"), "a call is cancelled from another thread");
        expect(n_tokens >= 3 && n_tokens < static_cast<int>(expected.size()), "it ends between two tokens");
        expect(says(error_of([&] { model->logits(kPrompt, {"one"}, {}, &cancel); }), Code::cancelled, "cancelled"),
               "a flag that stays up ends the next call, too");
        cancel.reset();
        expect(answer(*model, "four", 200) == expected, "the model answers as before a call was cancelled");
    }

    void cancel_while_waiting() {
        const auto model = load("tiny-float");
        Cancel cancel;
        std::optional<Callers::Turn> turn(model->turn());
        auto waiting = std::async(std::launch::async, [&] {
            return error_of([&] { model->logits(kPrompt, {"one"}, {}, &cancel); });
        });
        auto behind = std::async(std::launch::async, [&] { return answer(*model, "one"); });
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        cancel.request();
        expect(waiting.wait_for(kLongest) == std::future_status::ready, "a call that waits can be cancelled");
        expect(says(waiting.get(), Code::cancelled, "cancelled"), "and says so");
        turn.reset();
        expect(behind.get() == answer(*model, "one"), "whoever waits behind it gets a turn");
    }

    void replace_while_answering() {
        const auto model = load("tiny-float");
        const fs::path folder = model->folder() / "adapters";
        const Ids of_one = answer(*model, "one");
        const Ids of_four = answer(*model, "four");
        model->load_adapter("x", folder / "one");
        std::atomic<bool> is_over{false};
        std::atomic<int> n_wrong{0};
        std::vector<std::thread> threads;
        for (int count = 0; count < 3; ++count) {
            threads.emplace_back([&] {
                while (!is_over) {
                    const Ids found = answer(*model, "x");
                    n_wrong += found == of_one || found == of_four ? 0 : 1;
                }
            });
        }
        for (int round = 0; round < 10; ++round) {
            model->load_adapter("x", folder / (round % 2 == 0 ? "four" : "one"));
        }
        is_over = true;
        for (std::thread& thread : threads) {
            thread.join();
        }
        expect(n_wrong == 0, "a replaced adapter gives the old answer or the new one");
        expect(of_one != of_four && answer(*model, "x") == of_one, "the last one that was loaded stays");
    }

    void budget() {
        const auto whole = load("tiny-float");
        LoadOptions options;
        options.adapter_bytes = 1;
        const auto model = load("tiny-float", options);
        bool is_same = true;
        bool is_small = true;
        for (int round = 0; round < 2; ++round) {
            for (const std::string& spec : kSpecs) {
                is_same = is_same && answer(*whole, spec) == answer(*model, spec);
                const auto fresh = load("tiny-float");
                answer(*fresh, spec);
                is_small = is_small && (spec == "none" || model->adapter_bytes() <= fresh->adapter_bytes());
            }
        }
        expect(is_same, "a budget changes no answer");
        expect(is_small && whole->adapter_bytes() > model->adapter_bytes(), "what is not used is dropped beyond a budget");
    }

    void unload_while_answering() {
        const auto model = load("tiny-float");
        const Ids expected = answer(*model, "one");
        model->load_adapter("x", model->folder() / "adapters" / "one");
        std::atomic<int> n_right{0};
        std::optional<Error> error;
        std::thread thread([&] {
            while (!error) {
                error = error_of([&] { n_right += answer(*model, "x") == expected ? 1 : -1000; });
            }
        });
        while (n_right < 3) {
            std::this_thread::yield();
        }
        model->unload_adapter("x");
        thread.join();
        expect(n_right >= 3, "answers are right until an adapter is unloaded");
        expect(says(error, Code::adapter, "unknown adapter 'x'"), "an adapter that was unloaded is unknown");
        model->set_adapter("one:0.5");
        expect(says(error_of([&] { model->unload_adapter("one"); }), Code::adapter,
                    "adapter 'one' is in use ('one:0.5' is set); set another one first"),
               "the adapter that is set cannot be unloaded");
        expect(says(error_of([&] { model->unload_adapter("y"); }), Code::adapter, "unknown adapter 'y'"),
               "an unknown adapter cannot be unloaded");
    }

    void callback_of_the_same_thread() {
        const auto model = load("tiny-float");
        const Ids expected = answer(*model, "one");
        const auto look = [&](std::size_t, std::int32_t) { return model->adapters().size() == 3; };
        expect(model->generate_ids({kPrompt}, {"one"}, request_of(16), nullptr, look).front().ids == expected,
               "a callback may look at the model");
        const auto ask = [&](std::size_t, std::int32_t) { return !answer(*model, "four", 2).empty(); };
        expect(says(error_of([&] { model->generate_ids({kPrompt}, {"one"}, request_of(16), nullptr, ask); }),
                    Code::invalid_input, "another call used this model"),
               "a call within a callback is answered and ends the one around it");
        expect(answer(*model, "one") == expected, "the model answers as before");
    }

    void row_that_is_ended() {
        const auto model = load("tiny-float");
        int n_tokens = 0;
        const auto at_third = [&n_tokens](std::size_t prompt, std::int32_t) { return prompt != 1 || ++n_tokens < 3; };
        const std::vector<Ids> prompts = {kPrompt, {5, 6}, {9}};
        const auto whole = model->generate_ids(prompts, {"one"}, request_of(8));
        const auto found = model->generate_ids(prompts, {"one"}, request_of(8), nullptr, at_third);
        expect(found[1].ids == Ids(whole[1].ids.begin(), whole[1].ids.begin() + 3) &&
                   found[1].reason == FinishReason::stop,
               "a callback ends its row");
        expect(found[0].ids == whole[0].ids && found[2].ids == whole[2].ids, "the other rows go on");
    }

    void close_while_others_wait() {
        const auto model = load("tiny-float");
        std::optional<Callers::Turn> turn(model->turn());
        auto waiting = std::async(std::launch::async, [&] { return error_of([&] { answer(*model, "one"); }); });
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        model->close();
        turn.reset();
        expect(says(waiting.get(), Code::invalid_input, "was closed; load the artifact again"),
               "calls that wait while a model is closed are refused");
        expect(says(error_of([&] { model->set_adapter("one"); }), Code::invalid_input, "was closed"),
               "so are later ones");
        model->close();
    }

    void cache_that_grows() {
        const auto model = load("tiny-float");
        const Ids begin = answer(*model, "four", 300);  // the cache grows beyond 256 tokens on the way
        Ids whole = kPrompt;
        whole.insert(whole.end(), begin.begin(), begin.end());
        const auto fresh = load("tiny-float");
        const Logits expected = fresh->logits(whole, {"four"}, {whole.size() - 1});
        const Logits found = model->logits(whole, {"four"}, {whole.size() - 1});
        double apart = 0;
        for (std::size_t token = 0; token < found.vocab_size(); ++token) {
            apart = std::max(apart, static_cast<double>(std::abs(found.row(0)[token] - expected.row(0)[token])));
        }
        expect(apart < 1e-3 && begin.size() > 256, "a cache that has grown holds what it held");
    }

    fs::path folder_;
    int n_checks_ = 0;
    int n_failed_ = 0;
};

}  // namespace

int main(int count, char** words) {
    if (count != 2) {
        std::fputs("usage: calls FOLDER\n", stderr);
        return 2;
    }
    try {
        return Checks(fs::u8path(words[1])).run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "calls: %s\n", error.what());
        return 2;
    }
}
