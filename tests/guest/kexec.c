// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kexec -e|-p KERNEL INITRD COMMAND-LINE: start another kernel at once, with no
 * word to anybody (-e), or when this one panics (-p). Busybox has none.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel, initrd;
	unsigned long flags;

	if (argc != 5 || (strcmp(argv[1], "-e") && strcmp(argv[1], "-p"))) {
		fprintf(stderr, "usage: kexec -e|-p KERNEL INITRD COMMAND-LINE\n");
		return 2;
	}
	kernel = open(argv[2], O_RDONLY);
	initrd = open(argv[3], O_RDONLY);
	if (kernel < 0 || initrd < 0) {
		perror(kernel < 0 ? argv[2] : argv[3]);
		return 1;
	}
	flags = argv[1][1] == 'p' ? KEXEC_FILE_ON_CRASH : 0;
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[4]) + 1,
		    argv[4], flags)) {
		perror("kexec_file_load");
		return 1;
	}
	if (!flags)
		syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			LINUX_REBOOT_CMD_KEXEC, NULL);
	return 0;
}
