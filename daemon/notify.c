#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static void notify(const char *state)
{
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        size_t len = path ? strlen(path) : 0;
        int fd;

        if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
                return;
        memcpy(to.sun_path, path, len);
        if (path[0] == '@')
                to.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        /* Nobody listening is systemd's affair; the daemon serves all the same. */
        (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
        close(fd);
}

void notify_ready(void)
{
        notify("READY=1");
}

void notify_reloading(void)
{
        char text[64];

        snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                 (long long)clock_mono_us());
        notify(text);
}

void notify_stopping(void)
{
        notify("STOPPING=1");
}
