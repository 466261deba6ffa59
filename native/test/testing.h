// The whole test harness: tests register themselves, checks count and go on, main() runs those that were asked for.
#pragma once

#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tfserve::testing {

struct Test {
    std::string name;
    std::string file;
    std::function<void()> body;
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

/// Failed checks of the test that runs now.
inline int& failures() {
    static int n = 0;
    return n;
}

struct Registration {
    Registration(const char* name, const char* file, std::function<void()> body) { tests().push_back({name, file, std::move(body)}); }
};

/// Thrown by REQUIRE: what follows would make no sense.
struct Abandoned {};

inline void report(const char* file, int line, const std::string& what) {
    ++failures();
    if (failures() <= 20) std::cout << file << ":" << line << ": " << what << "\n";
    if (failures() == 21) std::cout << file << ": more failures of this test are not shown\n";
}

inline bool check(bool held, const char* file, int line, const char* text) {
    if (!held) report(file, line, text);
    return held;
}

template <typename T>
std::string shown(const T& value) {
    std::ostringstream out;
    if constexpr (std::is_enum_v<T>) {
        out << static_cast<long long>(value);
    } else if constexpr (std::is_same_v<T, std::string> || std::is_convertible_v<const T&, const char*>) {
        out << '"' << value << '"';
    } else if constexpr (requires { out << value; }) {
        out.precision(9);
        out << std::boolalpha << value;
    } else if constexpr (requires {
                             value.begin();
                             value.end();
                         }) {
        out << '{';
        const char* separator = "";
        for (const auto& element : value) out << std::exchange(separator, ", ") << shown(element);
        out << '}';
    } else {
        out << "(value)";
    }
    return out.str();
}

template <typename A, typename B>
bool equal(const A& a, const B& b) {
    if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> && !std::is_same_v<B, bool> &&
                  !std::is_same_v<A, char> && !std::is_same_v<B, char>) {
        return std::cmp_equal(a, b);
    } else {
        return a == b;
    }
}

template <typename A, typename B>
bool check_equal(const char* file, int line, const char* text, const A& a, const B& b) {
    if (equal(a, b)) return true;
    report(file, line, std::string(text) + ": " + shown(a) + " is not " + shown(b));
    return false;
}

}  // namespace tfserve::testing

#define TEST(name)                                                                                   \
    static void test_##name();                                                                       \
    static const ::tfserve::testing::Registration registration_##name{#name, __FILE__, test_##name}; \
    static void test_##name()

/// Each is an expression that tells whether it held.
#define CHECK(...) ::tfserve::testing::check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
#define CHECK_EQ(a, ...) ::tfserve::testing::check_equal(__FILE__, __LINE__, #a " == " #__VA_ARGS__, (a), (__VA_ARGS__))
/// Ends the test when it does not hold.
#define REQUIRE(...)                                                    \
    do {                                                                \
        if (!CHECK(__VA_ARGS__)) throw ::tfserve::testing::Abandoned{}; \
    } while (false)
#define CHECK_THROWS(expression, Exception)                                                                     \
    do {                                                                                                        \
        bool caught_ = false;                                                                                   \
        try {                                                                                                   \
            static_cast<void>(expression);                                                                      \
        } catch (const Exception&) {                                                                            \
            caught_ = true;                                                                                     \
        }                                                                                                       \
        if (!caught_) ::tfserve::testing::report(__FILE__, __LINE__, #expression " did not throw " #Exception); \
    } while (false)
