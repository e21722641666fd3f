/* Writes one of the texts of manual.h to standard output: the build's generator. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "manual.h"

static void program(struct buf *out)
{
        manual_program(HUBCACHED_VERSION, out);
}

static void file(struct buf *out)
{
        manual_file(HUBCACHED_VERSION, out);
}

static const struct {
        const char *word;
        void (*write)(struct buf *out);
} texts[] = {
        { "man1", program },         { "man5", file },
        { "bash", completion_bash }, { "zsh", completion_zsh },
        { "fish", completion_fish },
};

int main(int argc, char **argv)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);

        for (size_t i = 0; argc == 2 && i < ARRAY_LEN(texts); i++)
                if (strcmp(argv[1], texts[i].word) == 0)
                        texts[i].write(&out);
        if (!out.len || !buf_ok(&out) || fwrite(out.ptr, 1, out.len, stdout) != out.len)
                return 1;
        return fflush(stdout) == 0 ? 0 : 1;
}
