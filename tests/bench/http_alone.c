/* SPDX-License-Identifier: Apache-2.0 */
/* http_alone BYTES: libmicrohttpd alone, as rankd starts it, on a free port of loopback, which it prints. It
 * reads each body, drops it, and answers BYTES zeros: the most requests that a daemon on this library can
 * answer. Ends with its standard input. */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>

static char *answer;
static size_t answer_bytes;

static enum MHD_Result on_access(void *closure, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_size, void **context)
{
    static int begun;
    (void)closure, (void)url, (void)method, (void)version, (void)upload;
    if (!*context || *upload_size) {
        *context = &begun;
        *upload_size = 0;
        return MHD_YES;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer_bytes, answer, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    const enum MHD_Result queued = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return queued;
}

int main(int argc, char **argv)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    answer_bytes = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    answer = calloc(1, answer_bytes + 1);
    struct MHD_Daemon *daemon =
        answer ? MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_access, NULL,
                                  MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                  (size_t)131072, MHD_OPTION_END)
               : NULL;
    const union MHD_DaemonInfo *info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (!info) {
        fprintf(stderr, "http_alone: libmicrohttpd does not start\n");
        return 1;
    }
    printf("%u\n", (unsigned)info->port);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    MHD_stop_daemon(daemon);
    free(answer);
    return 0;
}
