/* The index as a file: query plans, versions, damage. */
#include "support.h"

#include <sqlite3.h>

#include "sql.h"

static void exec(const char *path, const char *sql)
{
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
}

static void create_index(const char *path)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        assert_ok(index_open(path, &ix, &err));
        index_close(&ix);
}

/* What is asked when someone deletes files for good, or looks at all of it, is worth no index that
 * every write pays for. */
static bool is_rare(const char *name)
{
        return strcmp(name, "list_own_objects") == 0 ||
               strncmp(name, "inventory_", strlen("inventory_")) == 0 ||
               strcmp(name, "drop_aliases_of") == 0;
}

/* Every statement finds its rows by a key. */
static void test_no_table_scans(void **state)
{
        const char *path = PATH(*state, "index.db");
        sqlite3 *db = NULL;

        create_index(path);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        for (size_t i = 0; i < SQL_COUNT; i++) {
                struct buf sql = BUF_INIT(65536);
                sqlite3_stmt *st = NULL;

                buf_add_fmt(&sql, "EXPLAIN QUERY PLAN %s", sql_texts[i]);
                if (sqlite3_prepare_v2(db, sql.ptr, -1, &st, NULL) != SQLITE_OK)
                        fail_msg("%s: %s", sql_names[i], sqlite3_errmsg(db));
                while (sqlite3_step(st) == SQLITE_ROW) {
                        const char *plan = (const char *)sqlite3_column_text(st, 3);

                        if ((strstr(plan, "SCAN") || strstr(plan, "TEMP B-TREE")) &&
                            !is_rare(sql_names[i]))
                                fail_msg("%s: %s", sql_names[i], plan);
                }
                sqlite3_finalize(st);
                buf_done(&sql);
        }
        sqlite3_close(db);
}

static void test_newer_version(void **state)
{
        const char *path = PATH(*state, "index.db");
        char present[64];
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        create_index(path);
        exec(path, "PRAGMA user_version = 1000");
        assert_fails(ERR_CONFIG, index_open(path, &ix, &err));
        /* The store refuses as well, and does not set it aside. */
        struct store_options options = { .dir = *state };
        struct store *store = NULL;

        assert_fails(ERR_CONFIG, store_open(&options, &store, &err));
        snprintf(present, sizeof(present), "PRAGMA user_version = %d", SQL_VERSION);
        exec(path, present);
        assert_ok(index_open(path, &ix, &err));
        index_close(&ix);
}

/* A data directory of the first version: what is in it is as good as before, and can be ranked. */
static void test_first_version(void **state)
{
        const char *path = PATH(*state, "index.db");
        struct rank_row start = { .rank = INT64_MIN }, rows[3];
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;
        size_t n = 0;

        exec(path, sql_migrations[0]);
        exec(path, "PRAGMA application_id = 0x68756263; PRAGMA user_version = 1;"
                   "INSERT INTO blobs VALUES "
                   "(x'0200000000000000000000000000000000000000aa', 1073741824, 1, 7000, 1),"
                   "(x'0200000000000000000000000000000000000000bb', 10, 1, 5000, 1);");
        assert_ok(index_open(path, &ix, &err));
        assert_ok(index_list_by_rank(ix, &start, rows, 3, &n, &err));
        assert_int_equal(n, 2);
        assert_int_equal(rows[0].size, 1073741824);
        assert_int_equal(rows[0].rank, 7000 + 36914);
        assert_int_equal(rows[1].rank, 5000 + 604800000);
        index_close(&ix);
}

static void test_foreign_database(void **state)
{
        const char *path = PATH(*state, "index.db");
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        exec(path, "CREATE TABLE repos (id INTEGER); PRAGMA user_version = 1");
        assert_fails(ERR_CORRUPT, index_open(path, &ix, &err));
}

static void test_private_mode(void **state)
{
        struct stat st;

        create_index(PATH(*state, "index.db"));
        assert_int_equal(stat(PATH(*state, "index.db"), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
}

static void damage_header(const char *path)
{
        scoped(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
        char zeros[4096] = "";

        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 0), (ssize_t)sizeof(zeros));
}

static void damage_length(const char *path)
{
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size / 2 / 4096 * 4096), 0);
}

static void damage_kind(const char *path)
{
        write_file(path,
                   "this is not a database at all, but it is long enough to be read as one,"
                   " one would think, were it not for what it says in its first bytes",
                   137);
}

/* Every page but the first, and the file that asks for a close look. */
static void damage_pages(const char *path)
{
        scoped(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
        char junk[4096], suspect[600];
        struct stat st;

        memset(junk, 0xa5, sizeof(junk));
        assert_int_equal(fstat(fd, &st), 0);
        for (off_t at = 4096; at < st.st_size; at += 4096)
                assert_int_equal(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
        snprintf(suspect, sizeof(suspect), "%s.suspect", path);
        write_file(suspect, "", 0);
}

static void damage_missing(const char *path)
{
        assert_int_equal(unlink(path), 0);
}

/* I-17: the store starts, and finds its blobs again. */
static void test_damage(void **state)
{
        static const struct {
                const char *name;
                void (*damage)(const char *path);
                bool set_aside;
        } cases[] = {
                { "zeroed header", damage_header, true }, { "half as long", damage_length, true },
                { "not a database", damage_kind, true },  { "every page", damage_pages, true },
                { "missing", damage_missing, false },
        };
        struct error err = { .kind = ERR_NONE };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct store *store = open_store(*state);
                struct buf command = BUF_INIT(1024);
                struct digest d;
                struct blob *b = store_content(store, 1000, 1, &d);

                print_message("# %s\n", cases[i].name);
                blob_unref(&b);
                store_close(&store);
                cases[i].damage(PATH(*state, "index.db"));
                store = open_store(*state);
                assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
                assert_false(blob_is_checked(b, 0, 1000));
                assert_ok(blob_check(b, 0, 1000, &err));
                blob_unref(&b);
                store_close(&store);
                buf_add_fmt(&command, "ls %s/index.db.corrupt-* >/dev/null 2>&1", (char *)*state);
                assert_int_equal(system(command.ptr) == 0, cases[i].set_aside);
                buf_truncate(&command, 0);
                buf_add_fmt(&command, "rm -f %s/index.db.corrupt-*", (char *)*state);
                assert_int_equal(system(command.ptr), 0);
                buf_done(&command);
        }
}

/* Found while running: the caller hears it, and the next start looks closely. */
static void test_damage_while_running(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct file_row row = { .type = FILE_REGULAR, .size = 1 };
        int64_t commit = 0;
        bool found = false;

        assert_ok(index_put_commit(store_index(store), 1,
                                   SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), &commit,
                                   &err));
        for (int i = 0; i < 2000; i += 100) {
                char paths[100][32];
                struct file_row rows[100];

                for (int j = 0; j < 100; j++) {
                        snprintf(paths[j], sizeof(paths[j]), "folder/file-%06d", i + j);
                        row.path = paths[j];
                        rows[j] = row;
                }
                assert_ok(
                        index_put_files(store_index(store), commit, rows, 100, TREE_PARTIAL, &err));
        }
        store_close(&store);
        store = open_store(*state);
        damage_pages(PATH(*state, "index.db"));
        unlink(PATH(*state, "index.db.suspect"));
        for (int i = 0; i < 2000 && !found; i++) {
                char path[32];

                snprintf(path, sizeof(path), "folder/file-%06d", i);
                if (index_find_file(store_index(store), commit, slice_str(path), &row, &err) < 0) {
                        assert_int_equal(err.kind, ERR_CORRUPT);
                        found = true;
                }
        }
        assert_true(found);
        assert_true(file_exists(PATH(*state, "index.db.suspect")));
        store_close(&store);
        store = open_store(*state);
        assert_int_equal(index_find_file(store_index(store), commit, SLICE("a"), &row, &err), 0);
        assert_false(file_exists(PATH(*state, "index.db.suspect")));
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_no_table_scans),       in_directory(test_newer_version),
                in_directory(test_first_version),        in_directory(test_foreign_database),
                in_directory(test_private_mode),         in_directory(test_damage),
                in_directory(test_damage_while_running),
        };

        return cmocka_run_group_tests_name("index_file", tests, NULL, NULL);
}
