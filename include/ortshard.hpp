/*
 * ortshard.hpp - ortshard.h for C++17 and later: handles that free themselves, errors as exceptions, spans, ranges.
 *
 *     #include <iostream>
 *     #include "ortshard.hpp"
 *
 *     int main()
 *     {
 *         auto generation = ortshard::generation::open("models/stories");
 *         generation.append("Once upon a time");
 *         for (const auto &piece : generation) std::cout << piece.text << std::flush;
 *     }
 *
 * ortshard.h is the manual: each class here is a handle there, each method the function of that name, and what is said
 * there of threads, lifetimes and errors holds here. get() gives the handle to whatever C function is wanted.
 *
 *   Handles     Are moved, not copied. One that was moved from is NULL, which every function refuses.
 *   Errors      Are exceptions: ortshard::error with its status, ortshard::out_of_memory with the site, the device and
 *               the bytes. Where exceptions are off (-fno-exceptions), or ORTSHARD_NO_EXCEPTIONS is defined, functions
 *               return ortshard::result<T> instead: a value, or a failure with the same facts. `returns<T>` below is T
 *               or result<T>. In a batch, where one may fail and the others go on, there are always results.
 *   Callbacks   Are any callable. One that returns bool goes on with true and stops with false; one that returns nothing
 *               goes on. An exception never passes through the library: it is kept, the call is stopped, and the
 *               exception is thrown again when the call returns. One from a log listener is dropped.
 *   Options     Are the structs of ortshard.h with their defaults in place. What their pointers point to is the
 *               program's, or is kept by the struct and its copies if it was set by a method (with_...).
 *   Texts       Come in as any string. One with a NUL character in it, where C would end it, is refused.
 *   Views       What is a span, a std::string_view or a tensor in an answer lives as long as ortshard.h says.
 */

#ifndef ORTSHARD_HPP
#define ORTSHARD_HPP

#include "ortshard.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__has_include) && __cplusplus >= 202002L
#if __has_include(<span>)
#include <span>
#endif
#endif

#if !defined(ORTSHARD_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define ORTSHARD_NO_EXCEPTIONS 1
#endif

namespace ortshard {

/* A program may have units with exceptions and units without: their functions have different names. */
#ifdef ORTSHARD_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/* ---- spans ------------------------------------------------------------------------------------------------------- */

#ifdef __cpp_lib_span
template <class T>
using span = std::span<T>;
#else
/** As much of C++20's std::span as is needed here. */
template <class T>
class span {
  public:
    constexpr span() noexcept = default;
    constexpr span(T *start, std::size_t count) noexcept : start_(start), count_(count) {}
    template <std::size_t Count>
    constexpr span(T (&array)[Count]) noexcept : start_(array), count_(Count)
    {
    }
    /** Of anything with data() and size() of such elements: a vector, an array, another span. */
    template <class Container,
              class = std::enable_if_t<std::is_convertible_v<
                  std::remove_pointer_t<decltype(std::declval<Container &>().data())> (*)[], T (*)[]>>,
              class = decltype(std::declval<Container &>().size())>
    constexpr span(Container &&container) noexcept : start_(container.data()), count_(container.size())
    {
    }
    constexpr T *data() const noexcept { return start_; }
    constexpr std::size_t size() const noexcept { return count_; }
    constexpr bool empty() const noexcept { return count_ == 0; }
    constexpr T *begin() const noexcept { return start_; }
    constexpr T *end() const noexcept { return start_ + count_; }
    constexpr T &operator[](std::size_t index) const noexcept { return start_[index]; }

  private:
    T *start_ = nullptr;
    std::size_t count_ = 0;
};
#endif

using bytes_view = span<const std::byte>;

/** `size` bytes at `start`, such as a frame that was received. */
inline bytes_view bytes(const void *start, std::size_t size) noexcept
{
    return bytes_view(static_cast<const std::byte *>(start), size);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/** What went wrong, as a value. */
class failure {
  public:
    failure(ortshard_status status, std::string message, std::optional<ortshard_oom> oom = std::nullopt)
        : status_(status), message_(std::move(message)), oom_(oom)
    {
    }
    /** An ORTSHARD_ERROR_* constant. One that is not known is an error of its hundred. */
    ortshard_status status() const noexcept { return status_; }
    const std::string &message() const noexcept { return message_; }
    /** Where memory ran out, if it did. */
    const std::optional<ortshard_oom> &oom() const noexcept { return oom_; }

  private:
    ortshard_status status_;
    std::string message_;
    std::optional<ortshard_oom> oom_;
};

#ifndef ORTSHARD_NO_EXCEPTIONS
/** A call that failed. what() is the message. */
class error : public std::runtime_error {
  public:
    explicit error(const failure &why) : std::runtime_error(why.message()), status_(why.status()) {}
    error(ortshard_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    /** As failure::status(). */
    ortshard_status status() const noexcept { return status_; }

  private:
    ortshard_status status_;
};

/** Memory ran out. The object is as it was before the call. */
class out_of_memory : public error {
  public:
    explicit out_of_memory(const failure &why) : error(why), oom_(why.oom().value_or(ortshard_oom ORTSHARD_OOM_INIT)) {}
    /** An ORTSHARD_OOM_* constant. */
    std::int32_t site() const noexcept { return oom_.site; }
    const char *device() const noexcept { return oom_.device; }
    /** 0 where the allocator does not say. */
    std::uint64_t requested_bytes() const noexcept { return oom_.requested_bytes; }

  private:
    ortshard_oom oom_;
};
#endif

namespace detail {

/** Throws what went wrong; without exceptions, ends the program. */
[[noreturn]] inline void raise(const failure &why)
{
#ifdef ORTSHARD_NO_EXCEPTIONS
    (void)why;
    std::abort();
#else
    if (why.status() == ORTSHARD_ERROR_OUT_OF_MEMORY) throw out_of_memory(why);
    throw error(why);
#endif
}

/** The failure of the last call on `object`; of this thread's last call, if that is NULL. */
inline failure last_failure(ortshard_status status, const void *object = nullptr)
{
    std::string message;
    std::size_t needed = 0;
    if (object == nullptr) {
        message = ortshard_last_error();
    } else if (ortshard_error_message(object, nullptr, 0, &needed) == ORTSHARD_OK && needed > 0) {
        message.resize(needed - 1);
        /* Another failure may have come in between. */
        if (ortshard_error_message(object, message.data(), needed, &needed) != ORTSHARD_OK) message.clear();
    }
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    if (status != ORTSHARD_ERROR_OUT_OF_MEMORY || ortshard_error_get_oom(object, &oom) != ORTSHARD_OK)
        return failure(status, std::move(message));
    return failure(status, std::move(message), oom);
}

} // namespace detail

/** A value, or why there is none: what C++23 calls std::expected. */
template <class T>
class [[nodiscard]] result {
  public:
    result(T value) : kept_(std::move(value)) {}
    result(failure why) : kept_(std::move(why)) {}
    bool has_value() const noexcept { return kept_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    ortshard_status status() const noexcept { return has_value() ? ORTSHARD_OK : std::get_if<1>(&kept_)->status(); }
    /** Only where there is no value. */
    const failure &error() const noexcept { return *std::get_if<1>(&kept_); }
    /** The value. Where there is none, throws; without exceptions, ends the program. */
    T &value() & { return *checked(); }
    T &&value() && { return std::move(*checked()); }
    const T &value() const & { return *const_cast<result *>(this)->checked(); }
    /** The value, unchecked. */
    T &operator*() noexcept { return *std::get_if<0>(&kept_); }
    const T &operator*() const noexcept { return *std::get_if<0>(&kept_); }
    T *operator->() noexcept { return std::get_if<0>(&kept_); }
    const T *operator->() const noexcept { return std::get_if<0>(&kept_); }

  private:
    T *checked()
    {
        if (!has_value()) detail::raise(error());
        return std::get_if<0>(&kept_);
    }
    std::variant<T, failure> kept_;
};

template <>
class [[nodiscard]] result<void> {
  public:
    result() = default;
    result(failure why) : why_(std::move(why)) {}
    bool has_value() const noexcept { return !why_; }
    explicit operator bool() const noexcept { return has_value(); }
    ortshard_status status() const noexcept { return why_ ? why_->status() : ORTSHARD_OK; }
    const failure &error() const noexcept { return *why_; }
    void value() const
    {
        if (why_) detail::raise(*why_);
    }

  private:
    std::optional<failure> why_;
};

/** What a function gives that can fail: its value, or without exceptions a result. */
#ifdef ORTSHARD_NO_EXCEPTIONS
template <class T>
using returns = result<T>;
#else
template <class T>
using returns = T;
#endif

namespace detail {

template <class T>
returns<T> refuse(failure why)
{
#ifdef ORTSHARD_NO_EXCEPTIONS
    return result<T>(std::move(why));
#else
    raise(why);
#endif
}

/** `value`, if the call succeeded. */
template <class T>
returns<T> answer(ortshard_status status, T &&value)
{
    if (status != ORTSHARD_OK) return refuse<T>(last_failure(status));
    return returns<T>(std::forward<T>(value));
}

inline returns<void> done(ortshard_status status)
{
    if (status != ORTSHARD_OK) return refuse<void>(last_failure(status));
    return returns<void>();
}

/** What an array function writes: `call` is given (buffer, capacity, needed). */
template <class Value, class Call>
returns<std::vector<Value>> list(std::size_t guess, Call call)
{
    std::vector<Value> values(guess);
    std::size_t needed = 0;
    ortshard_status status = call(values.data(), values.size(), &needed);
    while ((status == ORTSHARD_OK || status == ORTSHARD_ERROR_BUFFER_TOO_SMALL) && needed > values.size()) {
        values.resize(needed);
        status = call(values.data(), values.size(), &needed);
    }
    if (status == ORTSHARD_OK) values.resize(needed);
    return answer(status, std::move(values));
}

/** Likewise a text, whose NUL counts in C. */
template <class Call>
returns<std::string> text(std::size_t guess, Call call)
{
    std::string written(guess, '\0');
    std::size_t needed = 0;
    ortshard_status status = call(guess > 0 ? written.data() : nullptr, guess > 0 ? guess + 1 : 0, &needed);
    while ((status == ORTSHARD_OK || status == ORTSHARD_ERROR_BUFFER_TOO_SMALL) && needed > written.size() + 1) {
        written.resize(needed - 1);
        status = call(written.data(), written.size() + 1, &needed);
    }
    written.resize(status == ORTSHARD_OK && needed > 0 ? needed - 1 : 0);
    return answer(status, std::move(written));
}

} // namespace detail

/** The name of a status, such as "ORTSHARD_ERROR_IO". */
inline const char *status_name(ortshard_status status) noexcept { return ortshard_status_name(status); }
/** The version of the library that is running. */
inline const char *version() noexcept { return ortshard_version(); }
/** Whether the library that is running is one that this header fits. */
inline bool version_fits() noexcept { return ortshard_abi_version() == ORTSHARD_ABI_VERSION; }

/** A text that is passed to the library. */
class text_in {
  public:
    text_in(const char *text) noexcept : start_(text) {}
    text_in(const std::string &text) : start_(checked(text) ? text.c_str() : nullptr) {}
    text_in(std::string_view text) : own_(text), start_(nullptr), is_own_(checked(text)) {}
    /** NUL-terminated. NULL, which the library refuses, for a text with a NUL in it where there are no exceptions. */
    const char *get() const noexcept { return is_own_ ? own_.c_str() : start_; }

  private:
    static bool checked(std::string_view text)
    {
        if (text.find('\0') == std::string_view::npos) return true;
#ifndef ORTSHARD_NO_EXCEPTIONS
        throw error(ORTSHARD_ERROR_INVALID_ARGUMENT, "a text has a NUL character in it, at which the library would end it");
#else
        return false;
#endif
    }
    std::string own_;
    const char *start_;
    bool is_own_ = false;
};

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

namespace detail {

/** Refers to a callable for the length of one call, and keeps what it throws. */
template <class Told>
class listener {
  public:
    listener() noexcept = default;
    listener(std::nullptr_t) noexcept {}
    template <class Callable, class = std::enable_if_t<std::is_invocable_v<Callable &, const Told &>>>
    listener(Callable &&callable) noexcept
        : callable_(const_cast<void *>(static_cast<const void *>(std::addressof(callable)))),
          call_([](void *object, const Told &told) {
              auto &function = *static_cast<std::remove_reference_t<Callable> *>(object);
              if constexpr (std::is_void_v<decltype(function(told))>) {
                  function(told);
                  return true;
              } else {
                  return static_cast<bool>(function(told));
              }
          })
    {
    }
    /** What the library calls, and with what. */
    std::int32_t (*function() const noexcept)(const Told *, void *) { return call_ == nullptr ? nullptr : &tell; }
    void *self() noexcept { return this; }
    void rethrow()
    {
#ifndef ORTSHARD_NO_EXCEPTIONS
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
    }

  private:
    static std::int32_t tell(const Told *told, void *self) noexcept
    {
        auto &own = *static_cast<listener *>(self);
#ifdef ORTSHARD_NO_EXCEPTIONS
        return own.call_(own.callable_, *told) ? 0 : 1;
#else
        try {
            return own.call_(own.callable_, *told) ? 0 : 1;
        } catch (...) {
            own.thrown_ = std::current_exception();
            return 1;
        }
#endif
    }
    void *callable_ = nullptr;
    bool (*call_)(void *, const Told &) = nullptr;
    std::exception_ptr thrown_;
};

/** A callable that brings files, for as long as an object may call it. */
class fetcher {
  public:
    /** Gives the path of a model's file; nothing if the model has no such file. */
    using function = std::function<std::optional<std::string>(const char *model, const char *revision, const char *file)>;
    explicit fetcher(function find) : find_(std::move(find)) {}
    static ortshard_status tell(const char *model, const char *revision, const char *file, char *path,
                                std::size_t capacity, void *self) noexcept
    {
        auto &own = *static_cast<fetcher *>(self);
#ifdef ORTSHARD_NO_EXCEPTIONS
        return own.find(model, revision, file, path, capacity);
#else
        ortshard_status status = ORTSHARD_ERROR_IO;
        try {
            return own.find(model, revision, file, path, capacity);
        } catch (const error &thrown) {
            if (thrown.status() != ORTSHARD_OK) status = thrown.status();
            /* The load may go on without the file. */
            if (status != ORTSHARD_ERROR_NOT_FOUND) own.keep();
        } catch (...) {
            own.keep();
        }
        return status;
#endif
    }
    /** Throws what a callable has thrown in a load that ended so. */
    void rethrow(ortshard_status status)
    {
        std::exception_ptr thrown;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            thrown = std::exchange(thrown_, nullptr);
        }
#ifndef ORTSHARD_NO_EXCEPTIONS
        if (status != ORTSHARD_OK && thrown) std::rethrow_exception(thrown);
#else
        (void)status;
#endif
    }

  private:
    ortshard_status find(const char *model, const char *revision, const char *file, char *path, std::size_t capacity)
    {
        const std::optional<std::string> found = find_(model, revision, file);
        if (!found) return ORTSHARD_ERROR_NOT_FOUND;
        if (found->size() >= capacity || found->find('\0') != std::string::npos) return ORTSHARD_ERROR_IO;
        found->copy(path, found->size());
        path[found->size()] = '\0';
        return ORTSHARD_OK;
    }
    void keep() noexcept
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!thrown_) thrown_ = std::current_exception();
    }
    function find_;
    std::mutex mutex_;
    std::exception_ptr thrown_;
};

/** Owns a handle. */
template <class Object, void (*Free)(Object *)>
class handle {
  public:
    handle() noexcept = default;
    /** Takes over what a function of ortshard.h gave. */
    explicit handle(Object *owned) noexcept : owned_(owned) {}
    handle(handle &&other) noexcept : kept_(std::move(other.kept_)), owned_(std::exchange(other.owned_, nullptr)) {}
    handle &operator=(handle &&other) noexcept
    {
        if (this != &other) {
            Free(owned_);
            owned_ = std::exchange(other.owned_, nullptr);
            kept_ = std::move(other.kept_);
        }
        return *this;
    }
    ~handle() { Free(owned_); }
    /** For the functions of ortshard.h; still owned. */
    Object *get() const noexcept { return owned_; }
    /** Whether there is one: it was not moved from. */
    explicit operator bool() const noexcept { return owned_ != nullptr; }

  protected:
    handle(Object *owned, std::shared_ptr<const void> kept) noexcept : kept_(std::move(kept)), owned_(owned) {}
    /** What the library may call, by this object or what it holds: freed after it. */
    std::shared_ptr<const void> kept_;

  private:
    template <class, class>
    friend class handles;
    Object *owned_ = nullptr;
};

/** Keeps what pointers in options point to, for the options and their copies. */
class keeper {
  protected:
    template <class T>
    const T &keep(T value)
    {
        auto kept = std::make_shared<const T>(std::move(value));
        const T &at = *kept;
        kept_.push_back(std::move(kept));
        return at;
    }
    const char *keep_text(std::string text) { return keep(std::move(text)).c_str(); }

  private:
    std::vector<std::shared_ptr<const void>> kept_;
};

/** Handles as C has them, from a range of objects or of anything that refers to them, or from {&a, &b}. */
template <class Object, class Wrapper>
class handles {
  public:
    handles(std::initializer_list<const Wrapper *> some)
    {
        for (const Wrapper *one : some) add(one);
    }
    template <class Range, class = decltype(std::begin(std::declval<Range &>())),
              class = std::enable_if_t<!std::is_base_of_v<handles, std::decay_t<Range>>>>
    handles(Range &&range)
    {
        for (auto &&one : range) add(one);
    }
    Object *const *data() const noexcept { return some_.data(); }
    std::size_t size() const noexcept { return some_.size(); }
    Object *operator[](std::size_t index) const noexcept { return some_[index]; }
    /** What they keep, for an object that holds them. */
    std::shared_ptr<const void> kept() const
    {
        return kept_.empty() ? nullptr : std::make_shared<std::vector<std::shared_ptr<const void>>>(kept_);
    }

  private:
    template <class T>
    void add(const T &one)
    {
        if constexpr (std::is_same_v<T, Wrapper>) {
            if (one.kept_) kept_.push_back(one.kept_);
            some_.push_back(one.get());
        } else if constexpr (std::is_same_v<T, Object *>) {
            some_.push_back(one);
        } else if constexpr (std::is_pointer_v<T>) {
            if (one == nullptr)
                some_.push_back(nullptr);
            else
                add(*one);
        } else {
            const auto &inside = one.get();
            add(inside);
        }
    }
    std::vector<Object *> some_;
    std::vector<std::shared_ptr<const void>> kept_;
};

} // namespace detail

/** Is told of each step of a load (ortshard_progress_callback). */
using progress_listener = detail::listener<ortshard_progress>;

/* ---- options ----------------------------------------------------------------------------------------------------- */

struct runtime_options : ortshard_runtime_options, private detail::keeper {
    runtime_options() : ortshard_runtime_options ORTSHARD_RUNTIME_OPTIONS_INIT {}
    runtime_options &with_library(std::string path) { return library = keep_text(std::move(path)), *this; }
};

struct engine_options : ortshard_engine_options, private detail::keeper {
    engine_options() : ortshard_engine_options ORTSHARD_ENGINE_OPTIONS_INIT {}
    engine_options &with_cache_dir(std::string path) { return cache_dir = keep_text(std::move(path)), *this; }
    engine_options &with_pack_cache(std::string path) { return pack_cache = keep_text(std::move(path)), *this; }
    /**
     * Brings files: a callable with (model, revision, file), all const char *, that returns a path as an optional
     * string. It lives as long as any object that may call it, and may be called from several threads at once. An
     * ortshard::error that it throws gives its status to the library.
     */
    engine_options &with_fetch(detail::fetcher::function find)
    {
        fetcher = std::make_shared<detail::fetcher>(std::move(find));
        fetch = &detail::fetcher::tell;
        fetch_user_data = fetcher.get();
        return *this;
    }
    std::shared_ptr<detail::fetcher> fetcher;
};

struct shard_spec : ortshard_shard_spec, private detail::keeper {
    /** Layers `first` to `last`, INCLUSIVE. */
    explicit shard_spec(std::string name, std::uint32_t first = 0, std::uint32_t last = ORTSHARD_LAST_LAYER)
        : ortshard_shard_spec ORTSHARD_SHARD_SPEC_INIT
    {
        model = keep_text(std::move(name));
        first_layer = first;
        last_layer = last;
    }
    shard_spec &with_revision(std::string name) { return revision = keep_text(std::move(name)), *this; }
};

struct request_options : ortshard_request_options {
    request_options() : ortshard_request_options ORTSHARD_REQUEST_OPTIONS_INIT {}
};

struct encode_options : ortshard_encode_options {
    encode_options() : ortshard_encode_options ORTSHARD_ENCODE_OPTIONS_INIT {}
};

struct sampler_options : ortshard_sampler_options, private detail::keeper {
    sampler_options() : ortshard_sampler_options ORTSHARD_SAMPLER_OPTIONS_INIT {}
    sampler_options(const ortshard_sampler_options &given) : ortshard_sampler_options(given) {}
    sampler_options &with_banned(std::vector<std::int64_t> ids) { return set(banned, banned_count, std::move(ids)); }
    sampler_options &with_forced(std::vector<std::int64_t> ids) { return set(forced, forced_count, std::move(ids)); }
    sampler_options &with_eos(std::vector<std::int64_t> ids) { return set(eos, eos_count, std::move(ids)); }
    /** Sequences and what is added to the logit of the last token of each. */
    sampler_options &with_biases(std::vector<std::pair<std::vector<std::int64_t>, double>> sequences)
    {
        const auto &kept = keep(std::move(sequences));
        std::vector<ortshard_bias> list;
        for (const auto &[ids, bias] : kept) list.push_back({ids.data(), ids.size(), bias});
        return set(biases, bias_count, std::move(list));
    }

  private:
    template <class T>
    sampler_options &set(const T *&start, std::size_t &count, std::vector<T> list)
    {
        const std::vector<T> &kept = keep(std::move(list));
        start = kept.data();
        count = kept.size();
        return *this;
    }
};

struct plan_options : ortshard_plan_options, private detail::keeper {
    explicit plan_options(std::vector<ortshard_plan_device> list) : ortshard_plan_options ORTSHARD_PLAN_OPTIONS_INIT
    {
        const auto &kept = keep(std::move(list));
        devices = kept.data();
        device_count = kept.size();
    }
};

struct chat_options : ortshard_chat_options, private detail::keeper {
    chat_options() : ortshard_chat_options ORTSHARD_CHAT_OPTIONS_INIT {}
    chat_options &with_tools(std::string json) { return tools = keep_text(std::move(json)), *this; }
    chat_options &with_documents(std::string json) { return documents = keep_text(std::move(json)), *this; }
    chat_options &with_variables(std::string json) { return variables = keep_text(std::move(json)), *this; }
    chat_options &with_template_name(std::string name) { return template_name = keep_text(std::move(name)), *this; }
    chat_options &with_own_template(std::string jinja) { return own_template = keep_text(std::move(jinja)), *this; }
    chat_options &with_continue_field(std::string name) { return continue_field = keep_text(std::move(name)), *this; }
};

struct chat_parser_options : ortshard_chat_parser_options, private detail::keeper {
    chat_parser_options() : ortshard_chat_parser_options ORTSHARD_CHAT_PARSER_OPTIONS_INIT {}
    chat_parser_options &with_format(std::string name) { return format = keep_text(std::move(name)), *this; }
    chat_parser_options &with_prompt(std::string given) { return prompt = keep_text(std::move(given)), *this; }
    chat_parser_options &with_tools(std::string json) { return tools = keep_text(std::move(json)), *this; }
};

struct generation_options : ortshard_generation_options, private detail::keeper {
    generation_options() : ortshard_generation_options ORTSHARD_GENERATION_OPTIONS_INIT {}
    generation_options &with_sampling(sampler_options how) { return sampling = &keep(std::move(how)), *this; }
    generation_options &with_request(request_options how) { return request = &keep(std::move(how)), *this; }
    generation_options &with_engine(engine_options how)
    {
        fetcher = how.fetcher;
        return engine = &keep(std::move(how)), *this;
    }
    generation_options &with_stop(std::vector<std::string> strings)
    {
        std::vector<const char *> list;
        for (const std::string &one : keep(std::move(strings))) list.push_back(one.c_str());
        stop_count = list.size();
        return stop = keep(std::move(list)).data(), *this;
    }
    /** `kind` is an ORTSHARD_GRAMMAR_* constant. */
    generation_options &with_grammar(std::int32_t kind, std::string text)
    {
        grammar_kind = kind;
        return grammar = keep_text(std::move(text)), *this;
    }
    std::shared_ptr<detail::fetcher> fetcher;
};

/* ---- ONNX Runtime, devices, log ---------------------------------------------------------------------------------- */

inline returns<void> load_runtime(const ortshard_runtime_options &options = runtime_options())
{
    return detail::done(ortshard_runtime_load(&options));
}

inline returns<ortshard_runtime_info> runtime_info()
{
    ortshard_runtime_info info = ORTSHARD_RUNTIME_INFO_INIT;
    const ortshard_status status = ortshard_runtime_get_info(&info);
    return detail::answer(status, std::move(info));
}

/** All devices, the processor first (ortshard_device_count, ortshard_device_get_info). */
inline returns<std::vector<ortshard_device_info>> devices()
{
    std::uint32_t count = 0;
    ortshard_status status = ortshard_device_count(&count);
    std::vector<ortshard_device_info> all(count, ortshard_device_info ORTSHARD_DEVICE_INFO_INIT);
    for (std::uint32_t i = 0; i < count && status == ORTSHARD_OK; i++) status = ortshard_device_get_info(i, &all[i]);
    return detail::answer(status, std::move(all));
}

/** Is told a level, the part that a message comes from, and the message. */
using log_listener = std::function<void(std::int32_t level, const char *target, const char *message)>;

/** Sends messages up to `level` to `to`, in the whole process, until another takes its place or an empty one none. */
inline returns<void> set_log(std::int32_t level, log_listener to)
{
    /* Never destroyed: messages may come until the process has ended. */
    static std::mutex &mutex = *new std::mutex;
    static log_listener *current = nullptr;
    const auto tell = [](std::int32_t at, const char *target, const char *message, void *self) noexcept {
        const auto &own = *static_cast<const log_listener *>(self);
#ifdef ORTSHARD_NO_EXCEPTIONS
        own(at, target, message);
#else
        try {
            own(at, target, message);
        } catch (...) {
        }
#endif
    };
    const std::lock_guard<std::mutex> lock(mutex);
    auto fresh = to ? std::make_unique<log_listener>(std::move(to)) : nullptr;
    const ortshard_status status = fresh ? ortshard_log_set_callback(level, tell, fresh.get())
                                         : ortshard_log_set_callback(ORTSHARD_LOG_ERROR, nullptr, nullptr);
    if (status == ORTSHARD_OK) {
        delete current;
        current = fresh.release();
    }
    return detail::done(status);
}

/* ---- tensor ------------------------------------------------------------------------------------------------------ */

/** ortshard_tensor, made and read. It refers to its values. */
struct tensor : ortshard_tensor {
    tensor() noexcept : ortshard_tensor() {}
    explicit tensor(const ortshard_tensor &given) noexcept : ortshard_tensor(given) {}
    static tensor of_ids(span<const std::int64_t> ids) noexcept
    {
        return make(ORTSHARD_DTYPE_I64, {ids.size()}, ids.data(), ids.size() * sizeof(std::int64_t));
    }
    /** Rows of hidden states, each `width` wide. */
    static tensor of_hidden(span<const float> values, std::size_t width) noexcept
    {
        const std::size_t rows = width == 0 ? 0 : values.size() / width;
        return make(ORTSHARD_DTYPE_F32, {rows, width}, values.data(), values.size() * sizeof(float));
    }
    static tensor of_frame(bytes_view frame) noexcept
    {
        return make(ORTSHARD_DTYPE_FRAME, {frame.size()}, frame.data(), frame.size());
    }
    /** The values, if they are float. */
    span<const float> floats() const noexcept
    {
        if (dtype != ORTSHARD_DTYPE_F32) return {};
        return span<const float>(static_cast<const float *>(data), byte_length / sizeof(float));
    }
    /** The values as they lie: a frame that can be sent. */
    bytes_view bytes() const noexcept { return bytes_view(static_cast<const std::byte *>(data), data ? byte_length : 0); }

  private:
    static tensor make(std::int32_t type, std::initializer_list<std::size_t> dimensions, const void *at, std::size_t size)
    {
        tensor made;
        made.dtype = type;
        for (const std::size_t one : dimensions) made.shape[made.rank++] = static_cast<std::int64_t>(one);
        made.data = const_cast<void *>(at);
        made.byte_length = size;
        return made;
    }
};

/* ---- sampler ----------------------------------------------------------------------------------------------------- */

class sampler : public detail::handle<ortshard_sampler, ortshard_sampler_free> {
  public:
    using handle::handle;
    static returns<sampler> create(const ortshard_sampler_options &options = sampler_options())
    {
        ortshard_sampler *made = nullptr;
        const ortshard_status status = ortshard_sampler_create(&options, &made);
        return detail::answer(status, sampler(made));
    }
    returns<void> accept(span<const std::int64_t> ids)
    {
        return detail::done(ortshard_sampler_accept(get(), ids.data(), ids.size()));
    }
    returns<std::int64_t> sample(span<const float> logits)
    {
        std::int64_t id = ORTSHARD_NO_ID;
        const ortshard_status status = ortshard_sampler_sample(get(), logits.data(), logits.size(), &id);
        return detail::answer(status, std::move(id));
    }
    returns<void> reset() { return detail::done(ortshard_sampler_reset(get())); }
};

/* ---- tokenizer, text stream, chat -------------------------------------------------------------------------------- */

/** A message that is a role and a text. */
struct chat_message {
    std::string role, content;
};

class tokenizer : public detail::handle<ortshard_tokenizer, ortshard_tokenizer_free> {
  public:
    using handle::handle;
    using id_type = std::int64_t;

    struct encoded_texts {
        std::vector<id_type> ids;
        /** How many ids texts 0 to i have together. */
        std::vector<std::size_t> ends;
    };
    struct encoded_ranges {
        std::vector<id_type> ids;
        std::vector<ortshard_byte_range> ranges;
    };

    static returns<tokenizer> open(const text_in &path)
    {
        ortshard_tokenizer *made = nullptr;
        const ortshard_status status = ortshard_tokenizer_open(path.get(), &made);
        return detail::answer(status, tokenizer(made));
    }
    returns<std::vector<id_type>> encode(const text_in &text, bool add_special = true) const
    {
        const std::size_t guess = text.get() == nullptr ? 0 : std::string_view(text.get()).size() / 3 + 16;
        return detail::list<id_type>(guess, [&](id_type *ids, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_encode(get(), text.get(), add_special, ids, capacity, needed);
        });
    }
    returns<encoded_texts> encode(span<const std::string> texts, const ortshard_encode_options &options) const
    {
        std::vector<text_in> checked(texts.begin(), texts.end());
        std::vector<const char *> starts;
        for (const text_in &one : checked) starts.push_back(one.get());
        encoded_texts made;
        made.ends.resize(texts.size());
        std::size_t needed = 0;
        ortshard_status status = ORTSHARD_OK;
        do {
            made.ids.resize(needed);
            status = ortshard_tokenizer_encode_texts(get(), starts.data(), starts.size(), &options, made.ids.data(),
                                                     made.ids.size(), &needed, made.ends.data());
        } while ((status == ORTSHARD_OK || status == ORTSHARD_ERROR_BUFFER_TOO_SMALL) && needed > made.ids.size());
        return detail::answer(status, std::move(made));
    }
    returns<encoded_ranges> encode_with_ranges(const text_in &text,
                                               const ortshard_encode_options &options = encode_options()) const
    {
        encoded_ranges made;
        std::size_t needed = 0;
        ortshard_status status = ORTSHARD_OK;
        do {
            made.ids.resize(needed);
            made.ranges.resize(needed);
            status = ortshard_tokenizer_encode_with_ranges(get(), text.get(), &options, made.ids.data(),
                                                           made.ranges.data(), needed, &needed);
        } while ((status == ORTSHARD_OK || status == ORTSHARD_ERROR_BUFFER_TOO_SMALL) && needed > made.ids.size());
        return detail::answer(status, std::move(made));
    }
    returns<std::string> decode(span<const id_type> ids, bool skip_special = true) const
    {
        return detail::text(ids.size() * 8, [&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_decode(get(), ids.data(), ids.size(), skip_special, buffer, capacity, needed);
        });
    }
    returns<std::size_t> vocab_size() const
    {
        std::size_t size = 0;
        const ortshard_status status = ortshard_tokenizer_vocab_size(get(), &size);
        return detail::answer(status, std::move(size));
    }
    /** ORTSHARD_NO_ID if there is none. */
    returns<id_type> bos() const { return id_by(ortshard_tokenizer_bos); }
    returns<id_type> pad() const { return id_by(ortshard_tokenizer_pad); }
    returns<std::vector<id_type>> eos() const
    {
        return detail::list<id_type>(8, [&](id_type *ids, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_eos(get(), ids, capacity, needed);
        });
    }
    returns<bool> is_eos(id_type id) const { return flag_by(ortshard_tokenizer_is_eos, id); }
    returns<bool> is_special(id_type id) const { return flag_by(ortshard_tokenizer_is_special, id); }
    returns<id_type> token_to_id(const text_in &token) const
    {
        id_type id = ORTSHARD_NO_ID;
        const ortshard_status status = ortshard_tokenizer_token_to_id(get(), token.get(), &id);
        return detail::answer(status, std::move(id));
    }
    returns<std::string> id_to_token(id_type id) const
    {
        return detail::text(32, [&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_id_to_token(get(), id, buffer, capacity, needed);
        });
    }
    /** They need not be whole characters. */
    returns<std::vector<std::byte>> token_bytes(id_type id) const
    {
        return detail::list<std::byte>(32, [&](std::byte *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_token_bytes(get(), id, buffer, capacity, needed);
        });
    }
    returns<std::string> apply_chat_template(const std::vector<chat_message> &messages,
                                             bool add_generation_prompt = true) const
    {
        std::vector<ortshard_chat_message> list;
        for (const chat_message &one : messages) {
            const text_in role(one.role), content(one.content);
            list.push_back({role.get(), content.get()});
        }
        return detail::text(0, [&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_apply_chat_template(get(), list.data(), list.size(), add_generation_prompt, buffer,
                                                          capacity, needed);
        });
    }
    /** `messages` are JSON. */
    returns<std::string> chat_text(const text_in &messages, const ortshard_chat_options &options = chat_options()) const
    {
        return detail::text(0, [&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_chat_text(get(), messages.get(), &options, buffer, capacity, needed);
        });
    }
    returns<std::vector<id_type>> chat_ids(const text_in &messages,
                                           const ortshard_chat_options &options = chat_options()) const
    {
        return detail::list<id_type>(0, [&](id_type *ids, std::size_t capacity, std::size_t *needed) {
            return ortshard_tokenizer_chat_ids(get(), messages.get(), &options, ids, capacity, needed);
        });
    }

  private:
    returns<id_type> id_by(ortshard_status (*function)(const ortshard_tokenizer *, id_type *)) const
    {
        id_type id = ORTSHARD_NO_ID;
        const ortshard_status status = function(get(), &id);
        return detail::answer(status, std::move(id));
    }
    returns<bool> flag_by(ortshard_status (*function)(const ortshard_tokenizer *, id_type, std::int32_t *),
                          id_type id) const
    {
        std::int32_t flag = 0;
        const ortshard_status status = function(get(), id, &flag);
        return detail::answer(status, flag != 0);
    }
};

/** Text while it is generated. What it gives lives until its next call. */
class text_stream : public detail::handle<ortshard_text_stream, ortshard_text_stream_free> {
  public:
    using handle::handle;
    static returns<text_stream> create(const tokenizer &on, bool skip_special = true)
    {
        ortshard_text_stream *made = nullptr;
        const ortshard_status status = ortshard_text_stream_create(on.get(), skip_special, &made);
        return detail::answer(status, text_stream(made));
    }
    returns<std::string_view> push(std::int64_t id)
    {
        return view([&](const char **text, std::size_t *length) {
            return ortshard_text_stream_push(get(), id, text, length);
        });
    }
    returns<std::string_view> finish()
    {
        return view([&](const char **text, std::size_t *length) {
            return ortshard_text_stream_finish(get(), text, length);
        });
    }

  private:
    template <class Call>
    returns<std::string_view> view(Call call)
    {
        const char *text = "";
        std::size_t length = 0;
        const ortshard_status status = call(&text, &length);
        return detail::answer(status, status == ORTSHARD_OK ? std::string_view(text, length) : std::string_view());
    }
};

/** A part of an answer. The texts live until the parser's next call. */
struct chat_event {
    /** An ORTSHARD_CHAT_* constant. */
    std::int32_t kind;
    /** Content or reasoning; of a tool call its arguments, a JSON object. */
    std::string_view text;
    /** Of a tool call; empty if it has none. */
    std::string_view name, id;
};

class chat_parser : public detail::handle<ortshard_chat_parser, ortshard_chat_parser_free> {
  public:
    using handle::handle;
    static returns<chat_parser> create(const tokenizer &on,
                                       const ortshard_chat_parser_options &options = chat_parser_options())
    {
        ortshard_chat_parser *made = nullptr;
        const ortshard_status status = ortshard_chat_parser_create(on.get(), &options, &made);
        return detail::answer(status, chat_parser(made));
    }
    returns<void> push(std::string_view text)
    {
        /* An empty view may be NULL. */
        const char *start = text.data() == nullptr ? "" : text.data();
        return detail::done(ortshard_chat_parser_push(get(), start, text.size()));
    }
    returns<void> finish() { return detail::done(ortshard_chat_parser_finish(get())); }
    /** The next event, if one is left. */
    returns<std::optional<chat_event>> next()
    {
        ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
        const ortshard_status status = ortshard_chat_parser_next(get(), &event);
        std::optional<chat_event> made;
        const auto view = [](const char *text) { return text == nullptr ? std::string_view() : std::string_view(text); };
        if (status == ORTSHARD_OK && event.kind != ORTSHARD_CHAT_NOTHING) {
            const std::string_view text = event.text == nullptr ? "" : std::string_view(event.text, event.length);
            made = chat_event{event.kind, text, view(event.name), view(event.id)};
        }
        return detail::answer(status, std::move(made));
    }
    /** The message so far, as JSON. */
    returns<std::string> message()
    {
        return detail::text(0, [&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_chat_parser_message(get(), buffer, capacity, needed);
        });
    }
};

/** A grammar, and how far a text has come in it. */
class constraint : public detail::handle<ortshard_constraint, ortshard_constraint_free> {
  public:
    using handle::handle;
    /** `kind` is an ORTSHARD_GRAMMAR_* constant. Without `eos` the tokenizer's end a text. */
    static returns<constraint> create(const tokenizer &on, std::int32_t kind, const text_in &grammar,
                                      span<const std::int64_t> eos = {})
    {
        ortshard_constraint *made = nullptr;
        const ortshard_status status =
            ortshard_constraint_create(on.get(), kind, grammar.get(), eos.data(), eos.size(), &made);
        return detail::answer(status, constraint(made));
    }
    returns<constraint> clone() const
    {
        ortshard_constraint *made = nullptr;
        const ortshard_status status = ortshard_constraint_clone(get(), &made);
        return detail::answer(status, constraint(made));
    }
    returns<void> mask(span<float> logits)
    {
        return detail::done(ortshard_constraint_mask(get(), logits.data(), logits.size()));
    }
    returns<void> advance(std::int64_t id) { return detail::done(ortshard_constraint_advance(get(), id)); }
    returns<std::vector<std::int64_t>> known_ids()
    {
        return detail::list<std::int64_t>(16, [&](std::int64_t *ids, std::size_t capacity, std::size_t *needed) {
            return ortshard_constraint_known_ids(get(), ids, capacity, needed);
        });
    }
};

/* ---- shard and request ------------------------------------------------------------------------------------------- */

class request;

class shard : public detail::handle<ortshard_shard, ortshard_shard_free> {
  public:
    using handle::handle;
    /** Another reference to it. */
    returns<shard> share() const
    {
        const ortshard_status status = ortshard_shard_retain(get());
        return detail::answer(status, shard(status == ORTSHARD_OK ? get() : nullptr, kept_));
    }
    returns<ortshard_shard_info> info() const
    {
        ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
        const ortshard_status status = ortshard_shard_get_info(get(), &info);
        return detail::answer(status, std::move(info));
    }
    returns<void> export_onnx(const text_in &path) const
    {
        return detail::done(ortshard_shard_export_onnx(get(), path.get()));
    }

  private:
    friend class engine;
    friend class request;
};

class request : public detail::handle<ortshard_request, ortshard_request_free> {
  public:
    using handle::handle;
    static returns<request> create(const shard &on, const ortshard_request_options &options = request_options())
    {
        ortshard_request *made = nullptr;
        const ortshard_status status = ortshard_request_create(on.get(), &options, &made);
        return detail::answer(status, request(made, on.kept_));
    }
    /** The last token's logits. */
    returns<std::vector<float>> logits(span<const std::int64_t> ids)
    {
        return detail::list<float>(0, [&](float *values, std::size_t capacity, std::size_t *needed) {
            return ortshard_request_logits(get(), ids.data(), ids.size(), values, capacity, needed);
        });
    }
    /** Writes them to `values` and returns how many there are. */
    returns<std::size_t> logits(span<const std::int64_t> ids, span<float> values)
    {
        std::size_t needed = 0;
        const ortshard_status status =
            ortshard_request_logits(get(), ids.data(), ids.size(), values.data(), values.size(), &needed);
        return detail::answer(status, std::move(needed));
    }
    /** The token that follows; without a sampler, the one of the largest logit. */
    returns<std::int64_t> sample(span<const std::int64_t> ids, sampler *by = nullptr)
    {
        std::int64_t id = ORTSHARD_NO_ID;
        const ortshard_status status =
            ortshard_request_sample(get(), ids.data(), ids.size(), by == nullptr ? nullptr : by->get(), &id);
        return detail::answer(status, std::move(id));
    }
    /** Its values live until the request's next run. */
    returns<tensor> infer(const ortshard_tensor &input, std::int32_t logits = ORTSHARD_LOGITS_LAST)
    {
        tensor output;
        const ortshard_status status = ortshard_request_infer(get(), &input, logits, &output);
        return detail::answer(status, std::move(output));
    }
    /** Copies the values into `buffer`. Of an empty one nothing is run, and the tensor tells what would come. */
    returns<tensor> infer_into(const ortshard_tensor &input, std::int32_t logits, span<std::byte> buffer)
    {
        tensor output;
        const ortshard_status status =
            ortshard_request_infer_into(get(), &input, logits, buffer.data(), buffer.size(), &output);
        return detail::answer(status, std::move(output));
    }
    returns<std::uint64_t> position() const { return number(ortshard_request_position); }
    returns<std::uint64_t> capacity() const { return number(ortshard_request_capacity); }
    returns<void> truncate(std::uint64_t position) { return detail::done(ortshard_request_truncate(get(), position)); }
    returns<void> cancel() const { return detail::done(ortshard_request_cancel(get())); }
    returns<void> clear_cancel() const { return detail::done(ortshard_request_clear_cancel(get())); }
    returns<request> fork()
    {
        ortshard_request *made = nullptr;
        const ortshard_status status = ortshard_request_fork(get(), &made);
        return detail::answer(status, request(made, kept_));
    }
    returns<std::vector<std::byte>> export_state()
    {
        return detail::list<std::byte>(0, [&](std::byte *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_request_export_state(get(), buffer, capacity, needed);
        });
    }
    returns<std::vector<std::byte>> export_state_since(std::uint64_t since)
    {
        return detail::list<std::byte>(0, [&](std::byte *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_request_export_state_since(get(), since, buffer, capacity, needed);
        });
    }
    returns<void> import_state(bytes_view state)
    {
        return detail::done(ortshard_request_import_state(get(), state.data(), state.size()));
    }
    /** They live until the request's next run. */
    returns<std::vector<ortshard_piece>> frame_pieces()
    {
        return detail::list<ortshard_piece>(4, [&](ortshard_piece *pieces, std::size_t capacity, std::size_t *needed) {
            return ortshard_request_frame_pieces(get(), pieces, capacity, needed);
        });
    }

  private:
    friend class generation;
    returns<std::uint64_t> number(ortshard_status (*function)(const ortshard_request *, std::uint64_t *)) const
    {
        std::uint64_t value = 0;
        const ortshard_status status = function(get(), &value);
        return detail::answer(status, std::move(value));
    }
};

/** Requests that a call is on: a vector of them, of pointers or references to them, or {&a, &b}. */
using request_list = detail::handles<ortshard_request, request>;
/** Samplers likewise; nullptr is greedy. */
using sampler_list = detail::handles<ortshard_sampler, sampler>;

/* ---- chain and batch --------------------------------------------------------------------------------------------- */

inline returns<tensor> chain_infer(const request_list &requests, const ortshard_tensor &input,
                                   std::int32_t logits = ORTSHARD_LOGITS_LAST)
{
    tensor output;
    const ortshard_status status = ortshard_chain_infer(requests.data(), requests.size(), &input, logits, &output);
    return detail::answer(status, std::move(output));
}

inline returns<std::int64_t> chain_sample(const request_list &requests, const ortshard_tensor &input,
                                          sampler *by = nullptr)
{
    std::int64_t id = ORTSHARD_NO_ID;
    const ortshard_status status =
        ortshard_chain_sample(requests.data(), requests.size(), &input, by == nullptr ? nullptr : by->get(), &id);
    return detail::answer(status, std::move(id));
}

namespace detail {

/** How each of a batch ended. A call that was refused as a whole is one failure. */
template <class T, class Object, class Wrapper, class Value>
returns<std::vector<result<T>>> each(ortshard_status status, const handles<Object, Wrapper> &on,
                                     const std::vector<ortshard_status> &statuses, const std::vector<Value> &values)
{
    std::vector<result<T>> results;
    bool known = status == ORTSHARD_OK;
    for (std::size_t i = 0; i < statuses.size(); i++) {
        known = known || statuses[i] != ORTSHARD_OK;
        if (statuses[i] == ORTSHARD_OK)
            results.push_back(T(values[i]));
        else
            results.push_back(last_failure(statuses[i], on[i]));
    }
    return known ? answer(ORTSHARD_OK, std::move(results)) : answer(status, std::move(results));
}

inline failure uneven()
{
    return failure(ORTSHARD_ERROR_INVALID_ARGUMENT, "the lists of a batch have different numbers of elements");
}

} // namespace detail

/** Without `logits` the last token's of each. */
inline returns<std::vector<result<tensor>>> batch_infer(const request_list &requests, span<const tensor> inputs,
                                                        span<const std::int32_t> logits = {})
{
    const std::size_t count = requests.size();
    if (inputs.size() != count || (!logits.empty() && logits.size() != count))
        return detail::refuse<std::vector<result<tensor>>>(detail::uneven());
    const std::vector<ortshard_tensor> given(inputs.begin(), inputs.end());
    std::vector<ortshard_tensor> outputs(count);
    std::vector<ortshard_status> statuses(count, ORTSHARD_OK);
    const ortshard_status status =
        ortshard_batch_infer(requests.data(), given.data(), logits.data(), count, outputs.data(), statuses.data());
    return detail::each<tensor>(status, requests, statuses, outputs);
}

inline returns<std::vector<result<std::int64_t>>> batch_sample(const request_list &requests, span<const tensor> inputs,
                                                               const sampler_list &samplers = {})
{
    const std::size_t count = requests.size();
    if (inputs.size() != count || (samplers.size() != 0 && samplers.size() != count))
        return detail::refuse<std::vector<result<std::int64_t>>>(detail::uneven());
    const std::vector<ortshard_tensor> given(inputs.begin(), inputs.end());
    std::vector<std::int64_t> ids(count, ORTSHARD_NO_ID);
    std::vector<ortshard_status> statuses(count, ORTSHARD_OK);
    const ortshard_status status = ortshard_batch_sample(requests.data(), given.data(),
                                                         samplers.size() == 0 ? nullptr : samplers.data(), count,
                                                         ids.data(), statuses.data());
    return detail::each<std::int64_t>(status, requests, statuses, ids);
}

/* ---- frame ------------------------------------------------------------------------------------------------------- */

/** How many bytes the frame has that begins so. */
inline returns<std::size_t> frame_size(bytes_view start)
{
    std::size_t size = 0;
    const ortshard_status status = ortshard_frame_size(start.data(), start.size(), &size);
    return detail::answer(status, std::move(size));
}

inline returns<ortshard_frame_info> frame_info(bytes_view frame)
{
    ortshard_frame_info info = ORTSHARD_FRAME_INFO_INIT;
    const ortshard_status status = ortshard_frame_get_info(frame.data(), frame.size(), &info);
    return detail::answer(status, std::move(info));
}

struct frame_part {
    /** An ORTSHARD_ROLE_* constant. */
    std::int32_t role = 0;
    /** Lies in the frame. */
    tensor values;
};

inline returns<frame_part> frame_part_at(bytes_view frame, std::uint32_t index)
{
    frame_part part;
    const ortshard_status status =
        ortshard_frame_get_part(frame.data(), frame.size(), index, &part.role, &part.values);
    return detail::answer(status, std::move(part));
}

/* ---- models in folders ------------------------------------------------------------------------------------------- */

inline returns<ortshard_model_info> model_info(const text_in &model)
{
    ortshard_model_info info = ORTSHARD_MODEL_INFO_INIT;
    const ortshard_status status = ortshard_model_get_info(model.get(), &info);
    return detail::answer(status, std::move(info));
}

inline returns<std::vector<std::int64_t>> model_eos(const text_in &model)
{
    return detail::list<std::int64_t>(8, [&](std::int64_t *ids, std::size_t capacity, std::size_t *needed) {
        return ortshard_model_eos(model.get(), ids, capacity, needed);
    });
}

inline returns<sampler_options> model_sampler_options(const text_in &model)
{
    sampler_options options;
    const ortshard_status status = ortshard_model_get_sampler_options(model.get(), &options);
    return detail::answer(status, std::move(options));
}

inline returns<ortshard_boundary> model_boundary(const text_in &model, std::uint32_t layer)
{
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    const ortshard_status status = ortshard_model_get_boundary(model.get(), layer, &boundary);
    return detail::answer(status, std::move(boundary));
}

/* ---- engine ------------------------------------------------------------------------------------------------------ */

class engine : public detail::handle<ortshard_engine, ortshard_engine_free> {
  public:
    using handle::handle;
    static returns<engine> create(const engine_options &options = {})
    {
        ortshard_engine *made = nullptr;
        const ortshard_status status = ortshard_engine_create(&options, &made);
        return detail::answer(status, engine(made, options));
    }
    returns<shard> ensure_shard(const ortshard_shard_spec &spec, progress_listener progress = {}) const
    {
        ortshard_shard *made = nullptr;
        const ortshard_status status =
            ortshard_engine_ensure_shard(get(), &spec, progress.function(), progress.self(), &made);
        return loaded(status, progress, shard(made, kept_));
    }
    /** Nothing if it has none. */
    returns<std::optional<shard>> current_shard() const
    {
        ortshard_shard *current = nullptr;
        const ortshard_status status = ortshard_engine_current_shard(get(), &current);
        std::optional<shard> made;
        if (current != nullptr) made = shard(current, kept_);
        return detail::answer(status, std::move(made));
    }
    returns<void> clear() const { return detail::done(ortshard_engine_clear(get())); }
    /** The bytes that were freed. */
    returns<std::uint64_t> clear_pack_cache() const
    {
        std::uint64_t freed = 0;
        const ortshard_status status = ortshard_engine_clear_pack_cache(get(), &freed);
        return detail::answer(status, std::move(freed));
    }
    returns<shard> load_checkpoint(const text_in &checkpoint, progress_listener progress = {}) const
    {
        ortshard_shard *made = nullptr;
        const ortshard_status status =
            ortshard_engine_load_checkpoint(get(), checkpoint.get(), progress.function(), progress.self(), &made);
        return loaded(status, progress, shard(made, kept_));
    }
    returns<void> save_checkpoint(const text_in &path) const
    {
        return detail::done(ortshard_engine_save_checkpoint(get(), path.get()));
    }
    returns<ortshard_engine_estimate> estimate(const ortshard_shard_spec &spec, std::uint32_t context,
                                               std::uint32_t requests = 1) const
    {
        ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
        const ortshard_status status = ortshard_engine_get_estimate(get(), &spec, context, requests, &estimate);
        return loaded(status, std::move(estimate));
    }
    /** Which device holds which layers: the stages, from the first layer on. */
    returns<std::vector<ortshard_plan_stage>> plan(const ortshard_shard_spec &spec,
                                                   const ortshard_plan_options &options) const
    {
        return detail::list<ortshard_plan_stage>(
            options.device_count, [&](ortshard_plan_stage *stages, std::size_t capacity, std::size_t *needed) {
                const ortshard_status status =
                    ortshard_engine_plan(get(), &spec, &options, stages, capacity, needed);
                if (fetcher_) fetcher_->rethrow(status);
                return status;
            });
    }
    returns<void> audit_files(const ortshard_shard_spec &spec, detail::listener<ortshard_file> listener) const
    {
        const ortshard_status status =
            ortshard_engine_audit_files(get(), &spec, listener.function(), listener.self());
        listener.rethrow();
        return detail::done(status);
    }
    returns<ortshard_engine_stats> stats() const
    {
        ortshard_engine_stats stats = ORTSHARD_ENGINE_STATS_INIT;
        const ortshard_status status = ortshard_engine_get_stats(get(), &stats);
        return detail::answer(status, std::move(stats));
    }
    returns<ortshard_model_info> model_info(const ortshard_shard_spec &spec, progress_listener progress = {}) const
    {
        ortshard_model_info info = ORTSHARD_MODEL_INFO_INIT;
        const ortshard_status status =
            ortshard_engine_get_model_info(get(), &spec, progress.function(), progress.self(), &info);
        return loaded(status, progress, std::move(info));
    }
    returns<std::vector<std::int64_t>> model_eos(const ortshard_shard_spec &spec, progress_listener progress = {}) const
    {
        std::vector<std::int64_t> ids(8);
        std::size_t needed = 0;
        ortshard_status status = ORTSHARD_OK;
        do {
            if (needed > ids.size()) ids.resize(needed);
            status = ortshard_engine_model_eos(get(), &spec, progress.function(), progress.self(), ids.data(),
                                               ids.size(), &needed);
        } while (status == ORTSHARD_ERROR_BUFFER_TOO_SMALL && needed > ids.size());
        if (status == ORTSHARD_OK) ids.resize(needed);
        return loaded(status, progress, std::move(ids));
    }
    returns<ortshard::sampler_options> sampler_options(const ortshard_shard_spec &spec,
                                                       progress_listener progress = {}) const
    {
        ortshard::sampler_options options;
        const ortshard_status status =
            ortshard_engine_get_sampler_options(get(), &spec, progress.function(), progress.self(), &options);
        return loaded(status, progress, std::move(options));
    }
    returns<tokenizer> open_tokenizer(const ortshard_shard_spec &spec, progress_listener progress = {}) const
    {
        ortshard_tokenizer *made = nullptr;
        const ortshard_status status =
            ortshard_engine_open_tokenizer(get(), &spec, progress.function(), progress.self(), &made);
        return loaded(status, progress, tokenizer(made));
    }
    returns<ortshard_boundary> boundary(const ortshard_shard_spec &spec, std::uint32_t layer,
                                        progress_listener progress = {}) const
    {
        ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
        const ortshard_status status =
            ortshard_engine_get_boundary(get(), &spec, layer, progress.function(), progress.self(), &boundary);
        return loaded(status, progress, std::move(boundary));
    }

  private:
    engine(ortshard_engine *made, const engine_options &options)
        : handle(made, options.fetcher), fetcher_(options.fetcher)
    {
    }
    /** `value`, if the load succeeded; else what a callback threw, before what the library says. */
    template <class T>
    returns<T> loaded(ortshard_status status, T &&value) const
    {
        if (fetcher_) fetcher_->rethrow(status);
        return detail::answer(status, std::forward<T>(value));
    }
    template <class T>
    returns<T> loaded(ortshard_status status, progress_listener &progress, T &&value) const
    {
        progress.rethrow();
        return loaded(status, std::forward<T>(value));
    }
    std::shared_ptr<detail::fetcher> fetcher_;
};

/* ---- generation -------------------------------------------------------------------------------------------------- */

/** What a step gives. What it refers to lives until the generation's next call. */
struct step {
    step() = default;
    explicit step(const ortshard_step &given)
        : id(given.id), text(given.text == nullptr ? "" : given.text, given.text == nullptr ? 0 : given.text_length),
          finish(given.finish), stop(given.stop), logprob(given.logprob), best(given.best, given.best_count)
    {
    }
    /** ORTSHARD_NO_ID if the generation was cancelled, or had ended before. */
    std::int64_t id = ORTSHARD_NO_ID;
    std::string_view text;
    /** An ORTSHARD_FINISH_* constant. */
    std::int32_t finish = ORTSHARD_FINISH_NONE;
    std::uint32_t stop = 0;
    double logprob = 0;
    span<const ortshard_logprob> best;
};

class generation : public detail::handle<ortshard_generation, ortshard_generation_free> {
  public:
    using handle::handle;

    static returns<generation> open(const text_in &model, const generation_options &options = {})
    {
        ortshard_generation *made = nullptr;
        const ortshard_status status = ortshard_generation_open(model.get(), &options, &made);
        generation opened(made, options.fetcher);
        if (options.fetcher) options.fetcher->rethrow(status);
        return detail::answer(status, std::move(opened));
    }
    /** On requests of one's own. Without a tokenizer prompts are ids, and there is no text. */
    static returns<generation> create(const request_list &requests, const tokenizer *with = nullptr,
                                      const ortshard_generation_options &options = generation_options())
    {
        ortshard_generation *made = nullptr;
        const ortshard_status status = ortshard_generation_create(
            requests.data(), requests.size(), with == nullptr ? nullptr : with->get(), &options, &made);
        return detail::answer(status, generation(made, requests.kept()));
    }
    /** One whose tokens the program runs elsewhere: pending() says which, and step_with() takes what that gave. */
    static returns<generation> create_remote(std::uint32_t vocab_size, std::uint32_t capacity,
                                             std::uint64_t short_context = 0, const tokenizer *with = nullptr,
                                             const ortshard_generation_options &options = generation_options())
    {
        ortshard_generation *made = nullptr;
        const ortshard_status status = ortshard_generation_create_remote(
            vocab_size, capacity, short_context, with == nullptr ? nullptr : with->get(), &options, &made);
        return detail::answer(status, generation(made));
    }
    returns<void> append(const text_in &text, bool add_special = true)
    {
        return detail::done(ortshard_generation_append_text(get(), text.get(), add_special));
    }
    returns<void> append_ids(span<const std::int64_t> ids)
    {
        return detail::done(ortshard_generation_append_ids(get(), ids.data(), ids.size()));
    }
    returns<std::vector<float>> logits()
    {
        return detail::list<float>(0, [&](float *values, std::size_t capacity, std::size_t *needed) {
            return ortshard_generation_logits(get(), values, capacity, needed);
        });
    }
    returns<void> cancel() const { return detail::done(ortshard_generation_cancel(get())); }
    returns<generation> fork()
    {
        ortshard_generation *made = nullptr;
        const ortshard_status status = ortshard_generation_fork(get(), &made);
        return detail::answer(status, generation(made, kept_));
    }
    returns<std::vector<std::byte>> export_state()
    {
        return detail::list<std::byte>(0, [&](std::byte *buffer, std::size_t capacity, std::size_t *needed) {
            return ortshard_generation_export_state(get(), buffer, capacity, needed);
        });
    }
    returns<void> import_state(bytes_view state)
    {
        return detail::done(ortshard_generation_import_state(get(), state.data(), state.size()));
    }
    /** How many tokens of the prompt are left to run. */
    returns<std::size_t> prefill(std::size_t most)
    {
        std::size_t left = 0;
        const ortshard_status status = ortshard_generation_prefill(get(), most, &left);
        return detail::answer(status, std::move(left));
    }
    returns<ortshard::step> step()
    {
        ortshard_step raw = ORTSHARD_STEP_INIT;
        const ortshard_status status = ortshard_generation_step(get(), &raw);
        return detail::answer(status, ortshard::step(raw));
    }
    returns<std::vector<std::int64_t>> pending()
    {
        return detail::list<std::int64_t>(16, [&](std::int64_t *ids, std::size_t capacity, std::size_t *needed) {
            return ortshard_generation_pending(get(), ids, capacity, needed);
        });
    }
    returns<std::size_t> candidates()
    {
        std::size_t count = 0;
        const ortshard_status status = ortshard_generation_candidates(get(), &count);
        return detail::answer(status, std::move(count));
    }
    /** With all logits; empty where nothing was pending. */
    returns<ortshard::step> step_with(span<const float> logits)
    {
        ortshard_step raw = ORTSHARD_STEP_INIT;
        const ortshard_status status =
            ortshard_generation_step_with(get(), nullptr, logits.data(), logits.size(), &raw);
        return detail::answer(status, ortshard::step(raw));
    }
    /** With the tokens of the largest logits; both are of one length. */
    returns<ortshard::step> step_with(span<const std::int64_t> ids, span<const float> logits)
    {
        ortshard_step raw = ORTSHARD_STEP_INIT;
        const std::size_t count = ids.size() < logits.size() ? ids.size() : logits.size();
        const ortshard_status status =
            ortshard_generation_step_with(get(), ids.data(), logits.data(), count, &raw);
        return detail::answer(status, ortshard::step(raw));
    }
    /** Steps until the text ends, gives each step to `callable`, and returns why it ended, an ORTSHARD_FINISH_*. */
    template <class Callable>
    returns<std::int32_t> run(Callable &&callable)
    {
        const auto tell = [&](const ortshard_step &raw) { return callable(ortshard::step(raw)); };
        detail::listener<ortshard_step> listener(tell);
        std::int32_t finish = ORTSHARD_FINISH_NONE;
        const ortshard_status status = ortshard_generation_run(get(), listener.function(), listener.self(), &finish);
        listener.rethrow();
        return detail::answer(status, std::move(finish));
    }
    /** The text until it ends, in one. */
    returns<std::string> text()
    {
        std::string all;
        ortshard_step raw = ORTSHARD_STEP_INIT;
        ortshard_status status = ORTSHARD_OK;
        do {
            status = ortshard_generation_step(get(), &raw);
            if (status == ORTSHARD_OK) all.append(raw.text, raw.text_length);
        } while (status == ORTSHARD_OK && raw.finish == ORTSHARD_FINISH_NONE);
        return detail::answer(status, std::move(all));
    }

    struct sentinel {};

    /**
     * Goes through the steps until the text has ended; the last one says why. Without exceptions a step is a result, and
     * one that failed is the last.
     */
    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using difference_type = std::ptrdiff_t;
        using value_type = returns<ortshard::step>;
        using reference = const value_type &;
        using pointer = const value_type *;

        iterator() = default;
        explicit iterator(generation &of) : of_(&of) { advance(); }
        reference operator*() const noexcept { return *now_; }
        pointer operator->() const noexcept { return &*now_; }
        iterator &operator++()
        {
            if (last_)
                of_ = nullptr;
            else
                advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator &at, sentinel) noexcept { return at.of_ == nullptr; }
        friend bool operator!=(const iterator &at, sentinel) noexcept { return at.of_ != nullptr; }
        friend bool operator==(sentinel, const iterator &at) noexcept { return at.of_ == nullptr; }
        friend bool operator!=(sentinel, const iterator &at) noexcept { return at.of_ != nullptr; }

      private:
        void advance()
        {
            now_.emplace(of_->step());
#ifdef ORTSHARD_NO_EXCEPTIONS
            last_ = !*now_ || (**now_).finish != ORTSHARD_FINISH_NONE;
#else
            last_ = now_->finish != ORTSHARD_FINISH_NONE;
#endif
        }
        generation *of_ = nullptr;
        std::optional<value_type> now_;
        bool last_ = false;
    };

    iterator begin() { return iterator(*this); }
    sentinel end() const noexcept { return {}; }
};

using generation_list = detail::handles<ortshard_generation, generation>;

/** A step of each of several generations (ortshard_generation_step_batch). */
inline returns<std::vector<result<step>>> step_batch(const generation_list &generations)
{
    const std::size_t count = generations.size();
    std::vector<ortshard_step> steps(count, ortshard_step ORTSHARD_STEP_INIT);
    std::vector<ortshard_status> statuses(count, ORTSHARD_OK);
    const ortshard_status status =
        ortshard_generation_step_batch(generations.data(), count, steps.data(), statuses.data());
    return detail::each<step>(status, generations, statuses, steps);
}

} // inline namespace
} // namespace ortshard

#endif /* ORTSHARD_HPP */
