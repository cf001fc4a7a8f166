/* SPDX-License-Identifier: Apache-2.0 */
/* The status page: the content of status.html, which loads no other file. */
#ifndef RK_API_PAGE_H
#define RK_API_PAGE_H

#include <stddef.h>

extern const char rk_page_html[], rk_page_html_end[];
#define RK_PAGE_BYTES ((size_t)(rk_page_html_end - rk_page_html))

#endif
