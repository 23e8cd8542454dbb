// What a person does in Thunderbird, through the services that its windows use. Loaded once into the Marionette
// sandbox; every function may be awaited. A message is named by folder path ("Inbox", "Work/2026") and Message-ID.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { MsgHdrToMimeMessage } = ChromeUtils.importESModule("resource:///modules/gloda/MimeMessage.sys.mjs");
const { MessageArchiver } = ChromeUtils.importESModule("resource:///modules/MessageArchiver.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");

const TIMEOUT = 20_000; // milliseconds; reached only by a failing test
const INTERVAL = 25;
const SPECIAL = ["Inbox", "SentMail", "Drafts", "Trash", "Junk", "Archive"]; // of nsMsgFolderFlags

async function until(condition, what) {
  const deadline = Date.now() + TIMEOUT;
  for (;;) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (Date.now() > deadline) {
      throw new Error(`after ${TIMEOUT} ms still not: ${what}`);
    }
    await new Promise(resolve => setTimeout(resolve, INTERVAL));
  }
}

// Run `start` with a listener of an operation on the server and wait for its end.
function finished(start, what) {
  return new Promise((resolve, reject) => {
    const done = status =>
      Components.isSuccessCode(status) ? resolve() : reject(new Error(`${what}: 0x${(status >>> 0).toString(16)}`));
    start({
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl: (url, status) => done(status),
      onStartCopy() {},
      onProgress() {},
      setMessageKey() {},
      getMessageId: () => null,
      onStopCopy: status => done(status),
    });
  });
}

const serverOf = user => MailServices.accounts.findServer(user, "", "imap");

function folderOf(user, path) {
  let folder = serverOf(user).rootFolder;
  for (const name of path.split("/")) {
    const isIt = each => (name === "Inbox" ? each.getFlag(Ci.nsMsgFolderFlags.Inbox) : each.name === name);
    folder = folder.subFolders.find(isIt);
    if (!folder) {
      throw new Error(`${user} has no folder ${path}`);
    }
  }
  return folder;
}

async function messageOf(user, path, id) {
  const folder = folderOf(user, path);
  return until(() => folder.msgDatabase.getMsgHdrForMessageID(id), `${id} in ${path}`);
}

async function transfer(user, from, id, to, isMove) {
  const header = await messageOf(user, from, id);
  const target = folderOf(user, to);
  await finished(
    listener => MailServices.copy.copyMessages(header.folder, [header], target, isMove, listener, null, false),
    `${id} from ${from} to ${to}`
  );
}

const describe = header => ({
  subject: header.mime2DecodedSubject,
  author: header.mime2DecodedAuthor,
  id: header.messageId,
  read: header.isRead,
  flagged: header.isFlagged,
  keywords: header.getStringProperty("keywords").split(" ").filter(Boolean),
  uid: header.messageKey,
  size: header.messageSize,
});

globalThis.reader = {
  // The account as the account manager makes it. socketType: 0 plain, 2 STARTTLS, 3 TLS.
  async addAccount(user, password, host, port, socketType, folders) {
    const server = MailServices.accounts.createIncomingServer(user, host, "imap");
    server.port = port;
    server.socketType = socketType;
    server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    server.password = password;
    const identity = MailServices.accounts.createIdentity();
    identity.email = user;
    const account = MailServices.accounts.createAccount();
    account.incomingServer = server;
    account.addIdentity(identity);
    await this.discover(user, folders);
    await this.update(user, "Inbox");
  },

  // Get the list of folders until it has these.
  async discover(user, paths) {
    const server = serverOf(user);
    server.performExpand(null);
    await until(() => {
      try {
        return paths.every(path => folderOf(user, path));
      } catch {
        return false;
      }
    }, `folders ${paths}`);
  },

  folders(user) {
    const found = [];
    for (const folder of serverOf(user).rootFolder.descendants) {
      const special = SPECIAL.filter(name => folder.getFlag(Ci.nsMsgFolderFlags[name]));
      found.push({ name: folder.name, online: folder.QueryInterface(Ci.nsIMsgImapMailFolder).onlineName, special });
    }
    return found;
  },

  // Acceptance of a certificate that no authority vouches for, as the exception dialogue keeps it.
  async acceptCertificate(host, port, base64) {
    const database = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
    const overrides = Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService);
    overrides.rememberValidityOverride(host, port, {}, database.constructX509FromBase64(base64), false);
  },

  // Click on a folder: SELECT, new messages, changed flags. A folder on which something is running already is not
  // updated and says nothing: then again.
  async update(user, path) {
    const folder = folderOf(user, path).QueryInterface(Ci.nsIMsgImapMailFolder);
    await until(() => {
      const updated = finished(listener => folder.updateFolderWithListener(null, listener), `update of ${path}`);
      return Promise.race([updated.then(() => true), new Promise(resolve => setTimeout(resolve, 1_000, false))]);
    }, `update of ${path}`);
  },

  messages(user, path) {
    return [...folderOf(user, path).messages].map(describe);
  },

  async message(user, path, id) {
    return describe(await messageOf(user, path, id));
  },

  // Wait until Thunderbird has fetched all of a message for reading offline, as it does by itself.
  async downloaded(user, path, id) {
    const header = await messageOf(user, path, id);
    await until(() => header.flags & Ci.nsMsgMessageFlags.Offline, `${id} downloaded`);
  },

  // Wait, asking nobody, until the database has these properties for a message.
  async messageWhen(user, path, id, wanted) {
    const header = await messageOf(user, path, id);
    const met = () => Object.entries(wanted).every(([name, value]) => `${describe(header)[name]}` === `${value}`);
    await until(met, `${JSON.stringify(wanted)}, but ${JSON.stringify(describe(header))}`);
    return describe(header);
  },

  // Wait, asking nobody, until the database has a message no more.
  async gone(user, path, id) {
    const { msgDatabase } = folderOf(user, path);
    await until(() => !msgDatabase.getMsgHdrForMessageID(id), `${id} gone from ${path}`);
  },

  // Open a message: its text and attachments as Thunderbird shows them.
  async read(user, path, id) {
    const header = await messageOf(user, path, id);
    const mime = await new Promise(resolve => MsgHdrToMimeMessage(header, null, (_, parsed) => resolve(parsed), true));
    return {
      ...describe(header),
      body: mime.coerceBodyToPlaintext(header.folder),
      attachments: mime.allUserAttachments.map(each => ({ name: each.name, type: each.contentType, size: each.size })),
    };
  },

  // The message as it came, octet by octet (View > Message Source).
  async source(user, path, id) {
    const header = await messageOf(user, path, id);
    const uri = header.folder.getUriForMsg(header);
    let octets = "";
    await finished(
      listener =>
        MailServices.messageServiceFromURI(uri).streamMessage(
          uri,
          {
            QueryInterface: ChromeUtils.generateQI(["nsIStreamListener", "nsIRequestObserver"]),
            onStartRequest() {},
            onStopRequest: (request, status) => listener.OnStopRunningUrl(null, status),
            onDataAvailable(request, input, offset, count) {
              const stream = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
              stream.setInputStream(input);
              octets += stream.readBytes(count);
            },
          },
          null,
          null,
          false,
          ""
        ),
      `source of ${id}`
    );
    return btoa(octets);
  },

  async markRead(user, path, id, read) {
    const header = await messageOf(user, path, id);
    header.folder.markMessagesRead([header], read);
  },

  async star(user, path, id, flagged) {
    const header = await messageOf(user, path, id);
    header.folder.markMessagesFlagged([header], flagged);
  },

  async addTag(user, path, id, keyword) {
    const header = await messageOf(user, path, id);
    header.folder.addKeywordsToMessages([header], keyword);
  },

  async removeTag(user, path, id, keyword) {
    const header = await messageOf(user, path, id);
    header.folder.removeKeywordsFromMessages([header], keyword);
  },

  copy: (user, from, id, to) => transfer(user, from, id, to, false),
  move: (user, from, id, to) => transfer(user, from, id, to, true),

  // The Delete key: the message goes to the trash folder.
  async deleteMessage(user, path, id) {
    const header = await messageOf(user, path, id);
    await finished(
      listener => header.folder.deleteMessages([header], null, false, false, listener, false),
      `deleting ${id}`
    );
  },

  // The A key.
  async archive(user, path, id) {
    const header = await messageOf(user, path, id);
    await new Promise((resolve, reject) => {
      const archiver = new MessageArchiver();
      archiver.oncomplete = resolve;
      archiver.archiveMessages([header]);
      setTimeout(() => reject(new Error(`archiving ${id} does not end`)), TIMEOUT);
    });
  },

  async emptyTrash(user) {
    const trash = serverOf(user).rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Trash);
    trash.emptyTrash(null);
  },

  async createFolder(user, parent, name) {
    const folder = parent ? folderOf(user, parent) : serverOf(user).rootFolder;
    folder.createSubfolder(name, null);
    await until(() => folder.subFolders.some(each => each.name === name), `new folder ${name}`);
  },

  async renameFolder(user, path, name) {
    const folder = folderOf(user, path);
    const { parent } = folder;
    folder.rename(name, null);
    await until(() => parent.subFolders.some(each => each.name === name), `folder ${path} renamed to ${name}`);
  },

  // Delete a folder; outside the trash this moves it there.
  async deleteFolder(user, path) {
    const folder = folderOf(user, path);
    const { parent } = folder;
    folder.deleteSelf(null);
    await until(() => !parent.subFolders.some(each => each.name === folder.name), `folder ${path} deleted`);
  },

  // Edit > Find > Search Messages with "Run search on server".
  async search(user, path, conditions) {
    const folder = folderOf(user, path);
    const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
    session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder);
    for (const [attribute, text] of conditions) {
      const { value } = session.createTerm();
      value.attrib = Ci.nsMsgSearchAttrib[attribute];
      value.str = text;
      session.addSearchTerm(Ci.nsMsgSearchAttrib[attribute], Ci.nsMsgSearchOp.Contains, value, true, null);
    }
    const hits = [];
    await new Promise((resolve, reject) => {
      session.registerListener({
        onNewSearch() {},
        onSearchHit: header => hits.push(header.messageId),
        onSearchDone: status =>
          Components.isSuccessCode(status) ? resolve() : reject(new Error(`search: ${status}`)),
      });
      session.search(null);
    });
    return hits;
  },
};
