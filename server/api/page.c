/* SPDX-License-Identifier: Apache-2.0 */
#include "api/page.h"

/* The assembler takes the file in as it is; the path counts from the folder that make runs in. */
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
