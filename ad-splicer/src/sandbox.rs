//! Shutting a child in that is this program, before it reads a byte of a stranger's file.
//!
//! Two layers. Resource limits (setrlimit(2)) stop a decoder that wants too much. System call filters (seccomp(2))
//! take away everything that decoding does not need and harm does: the network, opening or changing files, other
//! programs, other processes. A refused call fails with `EPERM`, so a library that merely tries goes on without.
//! Limits and filters can only ever become tighter, and hold for every thread.
//!
//! What stays possible: reading standard input, writing standard output and error, memory, threads, clocks.

use std::collections::BTreeMap;

use rlimit::Resource;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

type Failure = Box<dyn std::error::Error>;

/// What a child may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Writable memory in bytes.
    pub(crate) memory: u64,
    /// Processor time.
    pub(crate) cpu_seconds: u64,
    /// Files that may be open.
    pub(crate) open_files: u64,
    /// The longest file that may be written.
    pub(crate) output_bytes: u64,
}

/// Sets these limits on this process.
pub(crate) fn limit(bounds: &Bounds) -> std::io::Result<()> {
    let set = |resource: Resource, value: u64| resource.set(value, value);
    set(Resource::CORE, 0)?;
    set(Resource::CPU, bounds.cpu_seconds)?;
    set(Resource::FSIZE, bounds.output_bytes)?;
    set(Resource::NOFILE, bounds.open_files)?;
    set(Resource::DATA, bounds.memory)
}

/// Installs the system call filters on every thread of this process.
pub(crate) fn shut_in() -> Result<(), Failure> {
    // clone3 takes its flags through a pointer that a filter cannot follow; without it libc uses clone.
    let no_clone3 = program(BTreeMap::from([(libc::SYS_clone3, vec![])]), libc::ENOSYS)?;
    let program = program(refused()?, libc::EPERM)?;
    seccompiler::apply_filter_all_threads(&no_clone3)?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(())
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, Failure> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    Ok(other_numbers(errno).into_iter().chain(filter).collect())
}

/// Kernels that take x32's system calls do so under the same architecture, where each call has a second number above all others.
const X32: u32 = 0x4000_0000;

/// The beginning of a filter that refuses those.
fn other_numbers(errno: i32) -> [sock_filter; 3] {
    let instruction = |code: u32, jf, k| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    [
        // The number is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
    ]
}

/// The calls that are refused; those with rules only where one matches.
fn refused() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Failure> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALWAYS.iter().map(|call| (*call, vec![])).collect();
    // A new thread is fine, a new process is not.
    let no_thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    rules.insert(libc::SYS_clone, vec![condition(0, no_thread, 0)?]);
    // Two ends of a local socket are how GStreamer wakes its own threads; they lead nowhere else.
    let not_local = condition(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    rules.insert(libc::SYS_socketpair, vec![not_local]);
    // Asking for limits is fine, changing them is not: the new ones come as the third argument.
    rules.insert(libc::SYS_prlimit64, vec![condition(2, SeccompCmpOp::Ne, 0)?]);
    Ok(rules)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Failure> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

const ALWAYS: &[i64] = &[
    // Network.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Files.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_truncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_renameat,
    libc::SYS_renameat2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    libc::SYS_linkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsmount,
    libc::SYS_utimensat,
    libc::SYS_inotify_init1,
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_setrlimit,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Ways around filters, and large surfaces of the kernel that decoding has no use for.
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter answers to a call of this number whose arguments are all zero.
    fn answer(program: &BpfProgram, number: u32) -> u32 {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => 0xC000_003E,
            "aarch64" => 0xC000_00B7,
            other => panic!("the sandbox is not for {other}"),
        };
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let instruction = &program[at];
            let k = instruction.k;
            let jump = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
            at += 1;
            match u32::from(instruction.code) {
                0x20 => value = [number, architecture].get(k as usize / 4).copied().unwrap_or(0),
                0x54 => value &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(value == k),
                0x25 => at += jump(value > k),
                0x35 => at += jump(value >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn a_call_has_no_second_number_by_which_it_passes() {
        let program = program(refused().expect("rules"), libc::EPERM).expect("a filter");
        let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for call in [libc::SYS_socket, libc::SYS_openat, libc::SYS_execve] {
            assert_eq!(answer(&program, call as u32), refusal);
            assert_eq!(answer(&program, X32 + call as u32), refusal);
        }
        assert_eq!(answer(&program, libc::SYS_read as u32), libc::SECCOMP_RET_ALLOW);
    }

    /// Filters cannot be taken off again, so only a thread of its own is filtered; whole children run in
    /// `tests/conditioning.rs`.
    #[test]
    fn a_filtered_thread_has_no_network_no_files_and_no_programs() {
        let tried = std::thread::spawn(|| {
            let program = program(refused().expect("rules"), libc::EPERM).expect("a filter");
            seccompiler::apply_filter(&program).expect("the kernel takes the filter");
            std::os::unix::net::UnixStream::pair().expect("threads may wake each other");
            [
                std::net::TcpStream::connect(("127.0.0.1", 9)).err(),
                std::net::UdpSocket::bind(("127.0.0.1", 0)).err(),
                std::fs::File::open("/dev/null").err(),
                std::fs::create_dir("/never").err(),
                std::process::Command::new("/bin/true").status().err(),
            ]
            .map(|error| error.and_then(|e| e.raw_os_error()))
        });
        let tried = tried.join().expect("the thread ends");
        assert_eq!(tried, [Some(libc::EPERM); 5]);
    }
}
