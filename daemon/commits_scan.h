/*
 * What is in a watched folder: regular files that may be committed, and whatever else is there,
 * with the reason why it is left out.
 *
 * A folder is walked from one descriptor and never left: folders behind symlinks are not entered; a
 * symlink to a file is that file's contents if it leads there without leaving the folder.  Bounded:
 * FOLDER_FILES_MAX files, FOLDER_DEPTH_MAX levels.  These calls block: they are for workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "config.h"
#include "index_folders.h"

enum {
        FOLDER_FILES_MAX = 100000, /* the Hub's advice for a whole repository (hub-protocol 6.7) */
        FOLDER_KNOWN_MAX = 1000000,
        FOLDER_DEPTH_MAX = 64,
        FOLDER_WATCHES_MAX = 4096,
        FOLDER_NOTES_MAX = 100,
};

/* What is said of files that were not committed; the first FOLDER_NOTES_MAX by name. */
enum note_kind { NOTE_SKIPPED, NOTE_WAITING, NOTE_CONFLICT, NOTE_KIND_MAX };
struct folder_note {
        enum note_kind kind;
        char *path; /* of the folder; made printable */
        char reason[160];
};
struct folder_notes {
        struct folder_note v[FOLDER_NOTES_MAX];
        size_t n;
        uint64_t count[NOTE_KIND_MAX]; /* all of them */
};
void folder_notes_done(struct folder_notes *notes);
void folder_note(struct folder_notes *notes, enum note_kind kind, struct slice path,
                 const char *fmt, ...) printf_like(4, 5);

/* A file that differs from what is known to be in the repository, or may. */
struct folder_change {
        struct folder_file file; /* as it is: length and stamps; digest when it was read */
        dev_t device;
        bool is_link;
        bool is_settled;         /* nothing is to be done about it in this round any more */
        struct digest committed; /* DIGEST_NONE: never */
};

struct folder_scan {
        /* what to do */
        const char *folder;
        const struct string_list *allow, *ignore;
        dev_t own_device; /* the daemon's own data is left out */
        ino_t own_inode;
        const struct folder_file *known; /* in order of their paths */
        size_t n_known;
        /* what was found */
        int fd;                        /* of the folder; -1 */
        struct folder_change *changes; /* in order of their paths */
        size_t n, cap;
        uint64_t unchanged;
        char **directories; /* below the folder, to be watched; "" is the folder itself */
        size_t n_directories, cap_directories;
        bool watchable; /* its file system tells of changes, and there are not too many folders */
        struct folder_notes *notes;
};
must_use int folder_scan_run(struct folder_scan *s, struct error *err);
void folder_scan_done(struct folder_scan *s);
/* Opens a file of it again; errno says why not.  EAGAIN: it is another file by now. */
int folder_open(int folder_fd, const struct folder_change *c);
/* Whether the Hub takes a file of that name; else why not. */
const char *folder_refuses_name(struct slice path);
