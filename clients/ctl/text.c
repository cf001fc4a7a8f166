/* SPDX-License-Identifier: Apache-2.0 */
/* Text with one row of numbers per line: CSV (RFC 4180) and similar forms. The file is read into
 * memory as a whole, so that the separator is known from the first row before any cell is read. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

struct text {
    const char *path, *at, *end;
    char *why;
    char separator; /* ' ': any number of blanks and tabs */
    size_t line, column;
    struct ctl_array *array;
    size_t room;
};

/* The text between two separators, without quotes and surrounding blanks. */
struct cell {
    const char *text;
    size_t bytes;
};

static bool ends_line(const struct text *text)
{
    return text->at == text->end || *text->at == '\n' ||
           (*text->at == '\r' && (text->at + 1 == text->end || text->at[1] == '\n'));
}

static void next_line(struct text *text)
{
    text->at += text->at < text->end && *text->at == '\r';
    text->at += text->at < text->end && *text->at == '\n';
    text->line++;
}

static bool is_blank(const struct text *text, char c)
{
    return c == ' ' || (c == '\t' && text->separator != '\t');
}

static void skip_blanks(struct text *text)
{
    while (text->at < text->end && is_blank(text, *text->at))
        text->at++;
}

static bool ends_cell(const struct text *text)
{
    return ends_line(text) ||
           (text->separator == ' ' ? is_blank(text, *text->at) : *text->at == text->separator);
}

/* Moves to the first line that is not blank. */
static void skip_empty_lines(struct text *text)
{
    for (;;) {
        const char *begin = text->at;
        while (text->at < text->end && (*text->at == ' ' || *text->at == '\t'))
            text->at++;
        if (text->at == text->end)
            return;
        if (!ends_line(text)) {
            text->at = begin;
            return;
        }
        next_line(text);
    }
}

/* The separator of the row that begins here. */
static char separator_of(const struct text *text)
{
    bool quoted = false, tab = false, comma = false;
    for (const char *at = text->at; at < text->end && (quoted || *at != '\n'); at++) {
        quoted ^= *at == '"';
        if (*at == ';' && !quoted)
            return ';';
        tab |= *at == '\t' && !quoted;
        comma |= *at == ',' && !quoted;
    }
    return tab ? '\t' : comma ? ',' : ' ';
}

/* A quote within quotes is doubled. No number has one, so it is not reduced to one again. */
static bool read_quoted(struct text *text, struct cell *cell)
{
    const size_t line = text->line;
    cell->text = ++text->at;
    for (; text->at < text->end; text->at++) {
        text->line += *text->at == '\n';
        if (*text->at != '"')
            continue;
        if (text->at + 1 == text->end || text->at[1] != '"')
            break;
        text->at++;
    }
    if (text->at == text->end)
        return rankd_ctl_refuse(text->why, "%s, line %zu, column %zu: a quote that is never closed",
                                text->path, line, text->column);
    cell->bytes = (size_t)(text->at++ - cell->text);
    if (text->separator != ' ')
        skip_blanks(text);
    return ends_cell(text) ||
           rankd_ctl_refuse(text->why, "%s, line %zu, column %zu: there is text after a closing quote",
                            text->path, text->line, text->column);
}

static bool read_cell(struct text *text, struct cell *cell)
{
    text->column++;
    skip_blanks(text);
    if (text->at < text->end && *text->at == '"')
        return read_quoted(text, cell);
    cell->text = text->at;
    while (!ends_cell(text))
        text->at++;
    const char *end = text->at;
    while (end > cell->text && is_blank(text, end[-1]))
        end--;
    cell->bytes = (size_t)(end - cell->text);
    return true;
}

static bool refuse_cell(const struct text *text, const struct cell *cell, enum ctl_number kind, size_t line)
{
    char piece[CTL_PIECE];
    if (kind == CTL_EMPTY)
        return rankd_ctl_refuse(text->why, "%s, line %zu, column %zu is empty; each cell must hold a number",
                                text->path, line, text->column);
    return rankd_ctl_refuse(text->why, "%s, line %zu, column %zu: '%s' is %s", text->path, line, text->column,
                            rankd_ctl_piece(piece, cell->text, cell->bytes),
                            kind == CTL_TOO_LARGE ? "larger than a double can be" : "not a number");
}

/* To the next cell of the row; false at its end. */
static bool next_cell(struct text *text)
{
    if (text->separator == ' ')
        skip_blanks(text);
    if (ends_line(text))
        return false;
    text->at += text->separator != ' ';
    return true;
}

struct row {
    bool first, faulty;
    int64_t words, numbers;
};

/* A first row may be a heading, which is known only at its end: until then its first error is kept
 * in `why`. */
static bool take_cell(struct text *text, struct row *row)
{
    struct cell cell = {0};
    double value = 0;
    const size_t line = text->line;
    if (!read_cell(text, &cell))
        return false;
    enum ctl_number kind = rankd_ctl_read_number(cell.text, cell.bytes, &value);
    row->words += kind == CTL_WORD;
    row->numbers += kind != CTL_WORD && kind != CTL_EMPTY;
    if (kind == CTL_NUMBER)
        return rankd_ctl_append(text->array, &text->room, &value, text->why);
    if (!row->faulty)
        refuse_cell(text, &cell, kind, line);
    row->faulty = true;
    return row->first;
}

static bool read_row(struct text *text, bool first)
{
    struct ctl_array *array = text->array;
    struct row row = {.first = first};
    text->column = 0;
    do {
        if (!take_cell(text, &row))
            return false;
    } while (next_cell(text));
    const size_t line = text->line;
    next_line(text);
    if (row.faulty)
        return row.words && !row.numbers; /* a heading */
    if (array->rows && row.numbers != array->columns)
        return rankd_ctl_refuse(text->why,
                                "%s, line %zu has %" PRId64 " numbers; the lines before it have %" PRId64,
                                text->path, line, row.numbers, array->columns);
    array->columns = row.numbers;
    array->rows++;
    return true;
}

static bool read_rows(struct text *text)
{
    if (!rankd_ctl_skip_mark(&text->at, text->end, text->path, text->why))
        return false;
    skip_empty_lines(text);
    text->separator = separator_of(text);
    for (bool first = true; text->at < text->end; first = false) {
        if (!read_row(text, first))
            return false;
        skip_empty_lines(text);
    }
    return text->array->rows || rankd_ctl_refuse(text->why, "%s holds no numbers", text->path);
}

bool rankd_ctl_text_read(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY])
{
    void *content;
    size_t bytes;
    bool good = rankd_ctl_read_growing(file, SIZE_MAX, &content, &bytes);
    if (good) {
        struct text text = {.path = path, .at = content, .why = why, .line = 1, .array = array};
        text.end = text.at + bytes;
        array->datatype = "FP64";
        array->element_bytes = sizeof(double);
        array->dimensions = 2;
        good = bytes ? read_rows(&text) : rankd_ctl_refuse(why, "%s holds no numbers", path);
    } else { /* a folder can be opened like a file; reading it fails here */
        rankd_ctl_refuse(why, "%s: %s", path, ferror(file) ? strerror(errno) : "no memory for it");
    }
    free(content);
    return good;
}
