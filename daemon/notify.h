/* sd_notify without its library: one datagram to $NOTIFY_SOCKET; nothing if it is not set. */
#pragma once

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
