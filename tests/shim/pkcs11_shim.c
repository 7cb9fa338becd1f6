/* A PKCS#11 v2.40 module that passes every call on to another one: late, or not at all, if told so.
 *
 * Rules:
 * - PINVAULT_SHIM_MODULE names the other module, PINVAULT_SHIM_CONTROL the file with a `struct
 *   control` for any call and then one for each function. Both are read once, at C_GetFunctionList.
 * - The file is shared memory: whoever maps it counts and commands while calls are under way.
 * - Nothing here locks: a call that sleeps holds up no other.
 * - Arguments are passed on and never looked at. So all are machine words, which is what pointers,
 *   CK_ULONG and CK_BBOOL are when they travel by the C calling conventions of 64-bit Unix.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*function)(); /* of any number of words */

enum { CKR_OK = 0x00, CKR_GENERAL_ERROR = 0x05 };

struct control {
    uint64_t calls;      /* made so far, counted here; the first call is number 1 */
    uint64_t latency_ns; /* what every call takes longer */
    uint64_t first;      /* the calls that are struck, by number: from this one */
    uint64_t last;       /* to this one */
    uint64_t hang_ns;    /* what a struck call takes longer still */
    uint64_t answer;     /* the CK_RV that a struck call gives; CKR_OK: whatever the module says */
    uint64_t after;      /* 1: the module does the work of a struck call, and its answer is lost */
};

/* CK_FUNCTION_LIST in its order (PKCS#11 v2.40 base, 3.7 and 5), with the number of arguments. */
#define FUNCTIONS(X)                                                                              \
    X(C_Initialize, 1)           X(C_Finalize, 1)            X(C_GetInfo, 1)                      \
    X(C_GetFunctionList, 1)      X(C_GetSlotList, 3)         X(C_GetSlotInfo, 2)                  \
    X(C_GetTokenInfo, 2)         X(C_GetMechanismList, 3)    X(C_GetMechanismInfo, 3)             \
    X(C_InitToken, 4)            X(C_InitPIN, 3)             X(C_SetPIN, 5)                       \
    X(C_OpenSession, 5)          X(C_CloseSession, 1)        X(C_CloseAllSessions, 1)             \
    X(C_GetSessionInfo, 2)       X(C_GetOperationState, 3)   X(C_SetOperationState, 5)            \
    X(C_Login, 4)                X(C_Logout, 1)              X(C_CreateObject, 4)                 \
    X(C_CopyObject, 5)           X(C_DestroyObject, 2)       X(C_GetObjectSize, 3)                \
    X(C_GetAttributeValue, 4)    X(C_SetAttributeValue, 4)   X(C_FindObjectsInit, 3)              \
    X(C_FindObjects, 4)          X(C_FindObjectsFinal, 1)    X(C_EncryptInit, 3)                  \
    X(C_Encrypt, 5)              X(C_EncryptUpdate, 5)       X(C_EncryptFinal, 3)                 \
    X(C_DecryptInit, 3)          X(C_Decrypt, 5)             X(C_DecryptUpdate, 5)                \
    X(C_DecryptFinal, 3)         X(C_DigestInit, 2)          X(C_Digest, 5)                       \
    X(C_DigestUpdate, 3)         X(C_DigestKey, 2)           X(C_DigestFinal, 3)                  \
    X(C_SignInit, 3)             X(C_Sign, 5)                X(C_SignUpdate, 3)                   \
    X(C_SignFinal, 3)            X(C_SignRecoverInit, 3)     X(C_SignRecover, 5)                  \
    X(C_VerifyInit, 3)           X(C_Verify, 5)              X(C_VerifyUpdate, 3)                 \
    X(C_VerifyFinal, 3)          X(C_VerifyRecoverInit, 3)   X(C_VerifyRecover, 5)                \
    X(C_DigestEncryptUpdate, 5)  X(C_DecryptDigestUpdate, 5) X(C_SignEncryptUpdate, 5)            \
    X(C_DecryptVerifyUpdate, 5)  X(C_GenerateKey, 5)         X(C_GenerateKeyPair, 8)              \
    X(C_WrapKey, 6)              X(C_UnwrapKey, 8)           X(C_DeriveKey, 6)                    \
    X(C_SeedRandom, 3)           X(C_GenerateRandom, 3)      X(C_GetFunctionStatus, 1)            \
    X(C_CancelFunction, 1)       X(C_WaitForSlotEvent, 3)

#define INDEX(NAME, COUNT) NAME##_INDEX,
enum { FUNCTIONS(INDEX) FUNCTION_COUNT };

struct function_list {
    struct { unsigned char major, minor; } version;
    function functions[FUNCTION_COUNT];
};

static const struct function_list *real;
static volatile struct control *controls;

static void pass_time(uint64_t ns) {
    struct timespec left = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (ns > 0 && nanosleep(&left, &left) != 0) {
    }
}

/* Counts a call, takes its time, and gives the control that strikes it, or NULL. */
static volatile struct control *struck_by(volatile struct control *control) {
    uint64_t number = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    int struck = control->first <= number && number <= control->last;
    pass_time(control->latency_ns + (struck ? control->hang_ns : 0));
    return struck && control->answer != CKR_OK ? control : NULL;
}

/* What becomes of one call: it reaches the module or not, and has an answer of ours or not. */
struct fate { int reaches; word answer; };

static struct fate fate_of(int index) {
    volatile struct control *any = struck_by(&controls[0]);
    volatile struct control *own = struck_by(&controls[1 + index]);
    volatile struct control *striking = own ? own : any;
    if (striking == NULL)
        return (struct fate){.reaches = 1, .answer = CKR_OK};
    return (struct fate){.reaches = striking->after != 0, .answer = striking->answer};
}

#define PARAMETERS_1 word a
#define PARAMETERS_2 PARAMETERS_1, word b
#define PARAMETERS_3 PARAMETERS_2, word c
#define PARAMETERS_4 PARAMETERS_3, word d
#define PARAMETERS_5 PARAMETERS_4, word e
#define PARAMETERS_6 PARAMETERS_5, word f
#define PARAMETERS_8 PARAMETERS_6, word g, word h
#define ARGUMENTS_1 a
#define ARGUMENTS_2 ARGUMENTS_1, b
#define ARGUMENTS_3 ARGUMENTS_2, c
#define ARGUMENTS_4 ARGUMENTS_3, d
#define ARGUMENTS_5 ARGUMENTS_4, e
#define ARGUMENTS_6 ARGUMENTS_5, f
#define ARGUMENTS_8 ARGUMENTS_6, g, h

#define PASS(NAME, COUNT)                                                                         \
    static word pass_##NAME(PARAMETERS_##COUNT) {                                                 \
        struct fate fate = fate_of(NAME##_INDEX);                                                 \
        word said = CKR_OK;                                                                       \
        if (fate.reaches)                                                                         \
            said = real->functions[NAME##_INDEX](ARGUMENTS_##COUNT);                              \
        return fate.answer != CKR_OK ? fate.answer : said;                                        \
    }
FUNCTIONS(PASS)

#define ENTRY(NAME, COUNT) (function)pass_##NAME,
static struct function_list ours = {.functions = {FUNCTIONS(ENTRY)}};

static volatile struct control *map_controls(const char *path) {
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return NULL;
    size_t size = (1 + FUNCTION_COUNT) * sizeof(struct control);
    void *mapped = lseek(file, 0, SEEK_END) < (off_t)size
                       ? MAP_FAILED
                       : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static const struct function_list *load(const char *path) {
    const struct function_list *list = NULL;
    void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    function get = module == NULL ? NULL : (function)dlsym(module, "C_GetFunctionList");
    return get != NULL && get(&list) == CKR_OK ? list : NULL;
}

/* The one symbol that callers look for; CKR_GENERAL_ERROR when module or controls are missing. */
word C_GetFunctionList(const struct function_list **list) {
    if (real == NULL) {
        controls = map_controls(getenv("PINVAULT_SHIM_CONTROL"));
        real = controls == NULL ? NULL : load(getenv("PINVAULT_SHIM_MODULE"));
        if (real == NULL)
            return CKR_GENERAL_ERROR;
        ours.version.major = real->version.major;
        ours.version.minor = real->version.minor;
        ours.functions[C_GetFunctionList_INDEX] = (function)C_GetFunctionList;
    }
    *list = &ours;
    return CKR_OK;
}
