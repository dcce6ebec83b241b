/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/libcrypto.h: OpenSSL's headers beside our error codes.
 *
 * OpenSSL has a type that is called as our code ERR_STATE is; while its headers
 * are read it gets another name. Include this instead of <openssl/...>.
 */
#pragma once

#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#undef ERR_STATE
