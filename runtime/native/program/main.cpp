// edgelora-run: answers of an artifact on a device without Python. Ends with a code of failure.hpp and one line.

#include <csignal>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "answers.hpp"
#include "arguments.hpp"
#include "chat.hpp"
#include "edgelora.h"
#include "errors.hpp"
#include "failure.hpp"
#include "handles.hpp"

#ifdef __GLIBCXX__
// What the standard library calls for an exception that nobody caught. Its own prints the name of the type, and has the
// code that takes such names apart; here nothing leaves main.
namespace __gnu_cxx {
void __verbose_terminate_handler() { std::abort(); }
}  // namespace __gnu_cxx
#endif

using namespace edgelora::program;

namespace {

int run(const std::vector<std::string>& words) {
    const Arguments arguments = parse_arguments(words);
    if (arguments.shows_help) {
        say(help());
    } else if (arguments.shows_version) {
        say(std::string("edgelora-run ") + edgelora_version() + "\n");
    } else if (arguments.is_list) {
        list_adapters(arguments);
    } else if (arguments.is_verify) {
        return verify(arguments);
    } else if (arguments.is_chat) {
        chat(arguments);
    } else {
        answer_all(arguments);
    }
    return DONE;
}

}  // namespace

int main(int count, char** words) {
    std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is seen where something is written
    catch_interrupts();
    try {
        return run(std::vector<std::string>(words + 1, words + count));
    } catch (const ReaderLeft&) {
        return DONE;
    } catch (const Failure& failure) {
        note(failure.what());
        return failure.code;
    } catch (const std::bad_alloc&) {
        note("not enough memory; close other programs");
        return BAD_INPUT;
    } catch (const std::exception& error) {
        note(std::string("a fault of edgelora itself, not of what it was given: ") + error.what());
        return OUR_FAULT;
    }
}
