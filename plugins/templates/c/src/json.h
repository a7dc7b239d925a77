// A small JSON reader and writer. A value keeps its own spelling, so 10.50 can go on as 10.50.
#ifndef JSON_H
#define JSON_H
#include "../gen/integrator.h"

// ---- reading; every function takes NULL for a value that is not there
typedef struct json {
  enum { // a value's first character; any number's is 0
    JSON_NULL = 'n', JSON_FALSE = 'f', JSON_TRUE = 't', JSON_NUMBER = '0',
    JSON_STRING = '"', JSON_ARRAY = '[', JSON_OBJECT = '{'
  } kind;
  text_t name;               // of a member of an object
  text_t text;               // a string without its escapes; any other value as it is spelled
  struct json *first, *next; // the first part of an array or object, and the one after this
} json_t;
const json_t *json_parse(text_t source);                         // NULL: not JSON
const json_t *json_at(const json_t *value, const char *pointer); // "/customer/name"; NULL: not there
bool json_text(const json_t *value, text_t *into);               // false: not a string
bool json_integer(const json_t *value, int64_t *into);           // false: not a number that fits

// ---- writing; `name` is NULL for the parts of an array and the outermost value
typedef struct { text_t text; size_t room; } writer_t;
void put_open(writer_t *out, const char *name, char bracket);
void put_close(writer_t *out, char bracket);
void put_text(writer_t *out, const char *name, text_t value);
void put_raw(writer_t *out, const char *name, text_t json); // a number, or JSON as it came
#endif
