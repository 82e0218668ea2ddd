// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Says why kernel options do not have the value that was asked for.
 *
 *   kconfig_explain Kconfig NAME=WANTED ...    in the object folder, with the environment of the kernel's make
 *
 * Linked against the objects of the kernel's own scripts/kconfig, so that its language is read by its own code.
 * Prints records of tab-separated fields, one a line: kind, symbol, then what the kind says (kconfig.py has the list).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "lkc.h"

#define MAX_NAME 128
#define MAX_SELECTORS 5

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's edit distance; longer names than any real one count as far away. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[MAX_NAME + 1];
	size_t i, j, length = strlen(b);

	if (length > MAX_NAME)
		return MAX_NAME;
	for (j = 0; j <= length; j++)
		row[j] = j;
	for (i = 0; a[i]; i++) {
		unsigned int diagonal = row[0];

		row[0] = i + 1;
		for (j = 0; j < length; j++) {
			unsigned int above = row[j + 1];

			row[j + 1] = min3(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
			diagonal = above;
		}
	}
	return row[length];
}

static const char *nearest_name(const char *name)
{
	const char *best = "";
	unsigned int best_distance = MAX_NAME;
	struct symbol *sym;

	for_all_symbols(sym) {
		unsigned int found;

		if (!sym->name || sym->type == S_UNKNOWN || sym->flags & SYMBOL_CONST)
			continue;
		found = distance(name, sym->name);
		if (found < best_distance) {
			best = sym->name;
			best_distance = found;
		}
	}
	return best;
}

static const char *tristate_name(tristate value)
{
	return value == yes ? "y" : value == mod ? "m" : "n";
}

static void print_leaf(const char *name, struct symbol *leaf)
{
	if (!leaf->name || leaf->flags & SYMBOL_CONST)
		return;
	if (leaf->type == S_UNKNOWN) {
		printf("leaf\t%s\t%s\tn\n", name, leaf->name);
		return;
	}
	sym_calc_value(leaf);
	printf("leaf\t%s\t%s\t%s\n", name, leaf->name, sym_get_string_value(leaf));
}

static void print_leaves(const char *name, struct expr *e)
{
	switch (e->type) {
	case E_OR:
	case E_AND:
		print_leaves(name, e->left.expr);
		print_leaves(name, e->right.expr);
		break;
	case E_NOT:
		print_leaves(name, e->left.expr);
		break;
	case E_SYMBOL:
		print_leaf(name, e->left.sym);
		break;
	default:
		print_leaf(name, e->left.sym);
		print_leaf(name, e->right.sym);
	}
}

/* The terms of a conjunction that stand below `need`, each with the symbols in it; true when there is one. */
static bool print_unmet(const char *name, struct expr *e, tristate need)
{
	tristate value;

	if (!e)
		return false;
	if (e->type == E_AND) {
		bool left = print_unmet(name, e->left.expr, need);

		return print_unmet(name, e->right.expr, need) || left;
	}
	value = expr_calc_value(e);
	if (value >= need)
		return false;
	printf("unmet\t%s\t", name);
	expr_fprint(e, stdout);
	printf("\t%s\n", tristate_name(value));
	if (e->type != E_SYMBOL)
		print_leaves(name, e);
	return true;
}

/* The selecting symbol stands first in each term of a reverse dependency. */
static struct symbol *first_symbol(struct expr *e)
{
	while (e->type == E_AND || e->type == E_OR || e->type == E_NOT)
		e = e->left.expr;
	return e->left.sym;
}

static void print_selected(const char *name, struct expr *e, tristate above)
{
	if (!e)
		return;
	if (e->type == E_OR) {
		print_selected(name, e->left.expr, above);
		print_selected(name, e->right.expr, above);
	} else if (expr_calc_value(e) > above) {
		struct symbol *by = first_symbol(e);

		printf("selected\t%s\t%s\t%s\n", name, by->name, tristate_name(by->curr.tri));
	}
}

static int print_selectors(struct expr *e, int printed)
{
	if (!e || printed >= MAX_SELECTORS)
		return printed;
	if (e->type == E_OR) {
		printed = print_selectors(e->left.expr, printed);
		return print_selectors(e->right.expr, printed);
	}
	printf("%s%s", printed ? ", " : "", first_symbol(e)->name);
	return printed + 1;
}

static bool has_prompt(struct symbol *sym)
{
	struct property *prop;

	for_all_prompts(sym, prop)
		return true;
	return false;
}

static bool print_unmet_prompts(struct symbol *sym, tristate need)
{
	struct property *prop;
	bool found = false;

	for_all_prompts(sym, prop)
		found |= print_unmet(sym->name, prop->visible.expr, need);
	return found;
}

static void print_no_prompt(struct symbol *sym, tristate wanted)
{
	printf("noprompt\t%s\t", sym->name);
	if (!print_selectors(sym->rev_dep.expr, 0))
		printf("none, it has a fixed default");
	printf("\n");
	print_selected(sym->name, sym->rev_dep.expr, wanted);
	print_unmet(sym->name, sym->dir_dep.expr, mod);
}

static bool print_choice(struct symbol *sym, tristate wanted)
{
	struct menu *choice = sym_get_choice_menu(sym);
	struct symbol *taken;

	if (!choice || wanted == no)
		return false;
	taken = sym_calc_choice(choice);
	if (!taken || taken == sym)
		return false;
	printf("choice\t%s\t%s\t%s\n", sym->name, choice->prompt ? choice->prompt->text : "", taken->name);
	return true;
}

static bool print_range(struct symbol *sym)
{
	struct property *prop = sym_get_range_prop(sym);

	if (!prop)
		return false;
	printf("range\t%s\t%s\t%s\n", sym->name, sym_get_string_value(prop->expr->left.sym),
	       sym_get_string_value(prop->expr->right.sym));
	return true;
}

static tristate parse_wanted(const char *value)
{
	return !strcmp(value, "n") ? no : !strcmp(value, "m") ? mod : yes;
}

static void explain(struct symbol *sym, const char *value)
{
	tristate wanted = parse_wanted(value);
	/* Only a module can stand on a module: everything else needs no more than that a term is not n. */
	tristate need = sym->type == S_TRISTATE && wanted == yes ? yes : mod;
	bool found;

	if (!has_prompt(sym)) {
		print_no_prompt(sym, wanted);
		return;
	}
	found = print_unmet_prompts(sym, need);
	if (sym->type == S_BOOLEAN && wanted == mod)
		found |= printf("bool\t%s\n", sym->name) > 0;
	if (sym->type == S_BOOLEAN || sym->type == S_TRISTATE) {
		found |= print_choice(sym, wanted);
		print_selected(sym->name, sym->rev_dep.expr, wanted);
		found |= sym->rev_dep.tri > wanted;
	} else {
		found |= print_range(sym);
	}
	if (!found)
		printf("default\t%s\t%s\n", sym->name, sym_get_string_value(sym));
}

static void explain_argument(char *argument)
{
	char *value = strchr(argument, '=');
	struct symbol *sym;

	if (!value) {
		fprintf(stderr, "kconfig_explain: %s: expected NAME=WANTED\n", argument);
		exit(2);
	}
	*value++ = '\0';
	sym = sym_find(argument);
	if (!sym || sym->type == S_UNKNOWN) {
		printf("unknown\t%s\t%s\n", argument, nearest_name(argument));
		return;
	}
	sym_calc_value(sym);
	explain(sym, value);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 3) {
		fprintf(stderr, "usage: kconfig_explain Kconfig NAME=WANTED ...\n");
		return 2;
	}
	conf_parse(argv[1]);
	if (conf_read(NULL))
		return 1;
	for (i = 2; i < argc; i++)
		explain_argument(argv[i]);
	return fflush(stdout) ? 1 : 0;
}
