#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/secret.h"

enum { BLANKS_MAX = 64 };

static bool is_visible(struct slice text)
{
        for (size_t i = 0; i < text.len; i++)
                if (text.ptr[i] <= 0x20 || text.ptr[i] >= 0x7f)
                        return false;
        return true;
}

static struct slice trim(struct slice text)
{
        const char *const blank = " \t\r\n";

        while (text.len && strchr(blank, text.ptr[0]) && text.ptr[0])
                text = slice_skip(text, 1);
        while (text.len && strchr(blank, text.ptr[text.len - 1]) && text.ptr[text.len - 1])
                text.len--;
        return text;
}

/* Reads up to size bytes; the number, or -1 with errno. */
static ssize_t read_up_to(int fd, char *to, size_t size)
{
        size_t n = 0;

        while (n < size) {
                ssize_t r = read(fd, to + n, size - n);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -1;
                if (r == 0)
                        break;
                n += (size_t)r;
        }
        return (ssize_t)n;
}

/* What is wrong with the content of a file, or NULL. */
static const char *fault_of(struct slice secret, bool all_read)
{
        if (!all_read || secret.len > SECRET_FILE_BYTES_MAX)
                return "is larger than 4 KiB";
        if (secret.len == 0)
                return "is empty";
        if (!is_visible(secret))
                return "holds more than one word, or a byte that is not visible ASCII";
        return NULL;
}

char *secret_file_read(const char *path, const char *place, bool shared_ok,
                       struct config_errors *errors)
{
        char bytes[SECRET_FILE_BYTES_MAX + BLANKS_MAX];
        scoped(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        const char *fault;
        struct slice secret;
        struct stat st;
        char *kept = NULL;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0) {
                config_errors_add(errors, true, "%s: %s cannot be opened: %s", place, path,
                                  strerror(errno));
                return NULL;
        }
        if (!S_ISREG(st.st_mode)) {
                config_errors_add(errors, true, "%s: %s is not a file", place, path);
                return NULL;
        }
        n = read_up_to(fd, bytes, sizeof(bytes));
        secret = n < 0 ? SLICE_NONE : trim(slice_of(bytes, (size_t)n));
        fault = fault_of(secret, n < (ssize_t)sizeof(bytes));
        if (n < 0)
                config_errors_add(errors, true, "%s: %s cannot be read: %s", place, path,
                                  strerror(errno));
        else if (fault)
                config_errors_add(errors, true, "%s: %s %s", place, path, fault);
        else if (!(kept = secret_keep(secret)))
                config_errors_add(errors, true, "%s: out of memory", place);
        else if (!shared_ok && (st.st_mode & (S_IRWXG | S_IRWXO)))
                config_errors_add(errors, false,
                                  "%s: %s is open to others than its owner (mode %03o, better 600)",
                                  place, path, (unsigned)(st.st_mode & 0777));
        explicit_bzero(bytes, sizeof(bytes));
        return kept;
}
