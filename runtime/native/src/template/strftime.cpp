// Dates as Python's `datetime.strftime` writes them on Linux, in the C locale and without a time zone.

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "template/tables.hpp"

namespace edgelora::jinja {

namespace {

const char* const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
const char* const months[] = {"January", "February", "March",     "April",   "May",      "June",
                              "July",    "August",   "September", "October", "November", "December"};

std::tm local_time(const std::string& date) {
    std::tm now{};
    if (date.empty()) {
        const std::time_t seconds = std::time(nullptr);
        localtime_r(&seconds, &now);
        return now;
    }
    now.tm_year = std::atoi(date.substr(0, 4).c_str()) - 1900;
    now.tm_mon = std::clamp(std::atoi(date.substr(5, 2).c_str()), 1, 12) - 1;
    now.tm_mday = std::atoi(date.substr(8, 2).c_str());
    const int year = now.tm_year + 1900;
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    now.tm_yday = before[now.tm_mon] + now.tm_mday - 1 + (is_leap && now.tm_mon > 1 ? 1 : 0);
    const int past = year - 1;
    now.tm_wday = (past + past / 4 - past / 100 + past / 400 + now.tm_yday + 1) % 7;
    return now;
}

// The year and week that a day belongs to: weeks begin on Mondays and are of the year that has their Thursday.
std::pair<int, int> iso_week(const std::tm& now) {
    int year = now.tm_year + 1900;
    int thursday = now.tm_yday + 3 - (now.tm_wday + 6) % 7;
    const auto length = [](int of) { return of % 4 == 0 && (of % 100 != 0 || of % 400 == 0) ? 366 : 365; };
    if (thursday < 0) {
        thursday += length(--year);
    } else if (thursday >= length(year)) {
        thursday -= length(year++);
    }
    return {year, thursday / 7 + 1};
}

struct Field {
    int value;
    int width;
    char pad = '0';
};

std::string write(const std::string& form, const std::tm& now);

// What a letter stands for; false where it is a number or none.
bool find_text(char letter, const std::tm& now, std::string& text) {
    const std::string day = days[now.tm_wday], month = months[now.tm_mon];
    switch (letter) {
        case 'a': text = day.substr(0, 3); return true;
        case 'A': text = day; return true;
        case 'b':
        case 'h': text = month.substr(0, 3); return true;
        case 'B': text = month; return true;
        case 'p': text = now.tm_hour < 12 ? "AM" : "PM"; return true;
        case 'P': text = now.tm_hour < 12 ? "am" : "pm"; return true;
        case 'n':
        case 't':
        case '%': text = letter == 'n' ? "\n" : letter == 't' ? "\t" : "%"; return true;
        case 'z':
        case 'Z':
            text.clear();  // a date of Python has no zone by itself
            return true;
        case 'c': text = write("%a %b %e %H:%M:%S %Y", now); return true;
        case 'D':
        case 'x': text = write("%m/%d/%y", now); return true;
        case 'F': text = write("%Y-%m-%d", now); return true;
        case 'r': text = write("%I:%M:%S %p", now); return true;
        case 'R': text = write("%H:%M", now); return true;
        case 'T':
        case 'X': text = write("%H:%M:%S", now); return true;
        default: return false;
    }
}

Field find_field(char letter, const std::tm& now) {
    const int year = now.tm_year + 1900, monday = (now.tm_wday + 6) % 7;
    switch (letter) {
        case 'C': return {year / 100, 2};
        case 'd': return {now.tm_mday, 2};
        case 'e': return {now.tm_mday, 2, ' '};
        case 'g': return {iso_week(now).first % 100, 2};
        case 'G': return {iso_week(now).first, 1};
        case 'H': return {now.tm_hour, 2};
        case 'I': return {(now.tm_hour + 11) % 12 + 1, 2};
        case 'j': return {now.tm_yday + 1, 3};
        case 'k': return {now.tm_hour, 2, ' '};
        case 'l': return {(now.tm_hour + 11) % 12 + 1, 2, ' '};
        case 'm': return {now.tm_mon + 1, 2};
        case 'M': return {now.tm_min, 2};
        case 'S': return {now.tm_sec, 2};
        case 'u': return {monday + 1, 1};
        case 'U': return {(now.tm_yday + 7 - now.tm_wday) / 7, 2};
        case 'V': return {iso_week(now).second, 2};
        case 'w': return {now.tm_wday, 1};
        case 'W': return {(now.tm_yday + 7 - monday) / 7, 2};
        case 'y': return {year % 100, 2};
        case 'Y': return {year, 1};
        default: lack(std::string("the code %") + letter + " of a date");
    }
}

std::string write(const std::string& form, const std::tm& now) {
    std::string all;
    for (size_t at = 0; at < form.size(); ++at) {
        if (form[at] != '%') {
            all += form[at];
            continue;
        }
        char flag = ' ';
        if (at + 1 < form.size() && std::string_view("-_0^#").find(form[at + 1]) != std::string_view::npos)
            flag = form[++at];
        if (++at >= form.size()) lack("a date that ends with %");
        const char letter = form[at];
        std::string text;
        if (letter == 'f' && flag == ' ') {
            all += "000000";
        } else if (find_text(letter, now, text)) {
            if (letter == '%' && flag != ' ') lack("a flag in front of %%");
            const bool is_lower = letter == 'p' && flag == '#';
            if (flag == '0' || flag == '_' || flag == '-') flag = ' ';
            for (char& c : text) {
                if (is_lower && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
                if (!is_lower && flag != ' ' && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
            }
            all += text;
        } else {
            const Field field = find_field(letter, now);
            std::string digits = std::to_string(field.value);
            const char pad = flag == '0' ? '0' : flag == '_' ? ' ' : field.pad;
            while (flag != '-' && static_cast<int>(digits.size()) < field.width) digits.insert(digits.begin(), pad);
            all += digits;
        }
    }
    return all;
}

}  // namespace

std::string strftime(const std::string& form, const std::string& date) {
    if (form.size() > 10'000) fail("a date is longer than any chat needs");
    return write(form, local_time(date));
}

}  // namespace edgelora::jinja
