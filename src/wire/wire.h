/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/wire.h: the contract that every codec keeps.
 *
 * A codec is a struct and a feed function. It does not allocate, read a clock,
 * touch errno, log, or know who is on the other side. The same bytes give the
 * same parts, however they are cut.
 */
#pragma once

#include "base/span.h"

enum wire_rc {
	WIRE_MORE =
		0, /* all input used (or kept by the caller); nothing complete */
	WIRE_PART =
		1, /* a part is complete                                       */
	WIRE_BAD =
		-1, /* not this protocol; the codec stays dead                  */
	WIRE_BIG =
		-2, /* legal, but over our limit; likewise                      */
};
