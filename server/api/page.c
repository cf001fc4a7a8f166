/* SPDX-License-Identifier: Apache-2.0 */
#include "api/page.h"

/* The assembler includes the file unchanged; the path is relative to the folder in which make
 * runs. */
__asm__(".section .rodata\n"
        ".global rk_page_html\n"
        ".hidden rk_page_html\n"
        "rk_page_html:\n"
        ".incbin \"server/api/status.html\"\n"
        ".global rk_page_html_end\n"
        ".hidden rk_page_html_end\n"
        "rk_page_html_end:\n"
        ".byte 0\n"
        ".text\n");
