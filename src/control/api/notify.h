/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/notify.h: tells the service manager how we are (sd_notify).
 *
 * One datagram to the socket that $NOTIFY_SOCKET names; without it nothing
 * happens. Source: man 3 sd_notify.
 *
 * Owns:   nothing. Thread: any.
 */
#pragma once

/* "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=...", "STATUS=..." */
void notify(const char *text);
void notify_reloading(void);
