// What a person writes in Thunderbird, through its composition window. Loaded behind reader.js, into the same scope.

const identityOf = user => MailServices.accounts.findAccountForServer(serverOf(user)).defaultIdentity;

// Wait for the composition window that somebody has opened, until one can type into it.
async function compositionWindow() {
  const window = await until(() => Services.wm.getMostRecentWindow("msgcompose"), "composition window");
  await until(() => window.gMsgCompose?.editor && window.composeEditorReady !== false, "editor");
  return window;
}

// Open the composition window for a new message and wait until it shows these fields.
async function compose(user, to, subject, text) {
  const parameters = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
  parameters.composeFields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  parameters.composeFields.to = to;
  parameters.composeFields.subject = subject;
  parameters.composeFields.body = text;
  parameters.type = Ci.nsIMsgCompType.New;
  parameters.format = Ci.nsIMsgCompFormat.PlainText;
  parameters.identity = identityOf(user);
  MailServices.compose.OpenComposeWindowWithParams(null, parameters);
  const window = await compositionWindow();
  await until(() => window.document.getElementById("msgSubject")?.value === subject, "subject in the window");
  return window;
}

// Press Send and wait until the window has closed: the server has taken the message, and a copy is in the Sent folder.
async function send(window) {
  const sent = new Promise(resolve => window.addEventListener("aftersend", resolve, { once: true }));
  await window.SendMessage();
  await sent;
  const { messageId } = window.gMsgCompose.compFields;
  await until(() => window.closed, "composition window closed");
  return messageId.replace(/^<|>$/g, "");
}

// Close a composition window without being asked whether to save.
function discard(window) {
  window.gMsgCompose.bodyModified = false;
  window.gContentChanged = false;
  window.close();
}

Object.assign(globalThis.reader, {
  // The outgoing server as the account manager makes it, its password as if it had been remembered.
  async addSender(user, password, host, port, socketType) {
    const server = MailServices.outgoingServer.createServer("smtp").QueryInterface(Ci.nsISmtpServer);
    server.hostname = host;
    server.port = port;
    server.socketType = socketType;
    server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    server.username = user;
    identityOf(user).smtpServerKey = server.key;
    const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
    login.init(`smtp://${host}`, null, `smtp://${host}`, user, password, "", "");
    await Services.logins.addLoginAsync(login);
  },

  // Write a message and send it; return its Message-ID.
  async sendNew(user, to, subject, text) {
    return send(await compose(user, to, subject, text));
  },

  // Write a message, press Send, and read what Thunderbird says of the server's refusal; the message is thrown away.
  async sendRefused(user, to, subject, text) {
    const window = await compose(user, to, subject, text);
    const ended = window.SendMessage();
    const isAlert = each => each.location.href === "chrome://global/content/commonDialog.xhtml";
    const dialog = await until(() => [...Services.wm.getEnumerator(null)].find(isAlert), "alert");
    const said = await until(() => dialog.document.getElementById("infoBody")?.textContent, "text of the alert");
    dialog.document.querySelector("dialog").acceptDialog();
    await ended;
    discard(window);
    return said;
  },

  // Open a draft and send it as it is; return its Message-ID.
  async sendDraft(user, path, id) {
    const header = await messageOf(user, path, id);
    const uri = header.folder.getUriForMsg(header);
    const { Draft } = Ci.nsIMsgCompType;
    const { msgWindow } = Services.wm.getMostRecentWindow("mail:3pane");
    MailServices.compose.OpenComposeWindow(
      null, header, uri, Draft, Ci.nsIMsgCompFormat.Default, identityOf(user), null, msgWindow
    );
    const window = await compositionWindow();
    await until(() => window.document.getElementById("msgSubject")?.value === header.mime2DecodedSubject, "the draft");
    return send(window);
  },

  // Answer a message (Reply), `text` below what it quotes, and send it; return its Message-ID.
  async sendReply(user, path, id, text) {
    const header = await messageOf(user, path, id);
    const uri = header.folder.getUriForMsg(header);
    const { ReplyToSender } = Ci.nsIMsgCompType;
    const { PlainText } = Ci.nsIMsgCompFormat;
    const { msgWindow } = Services.wm.getMostRecentWindow("mail:3pane");
    MailServices.compose.OpenComposeWindow(null, header, uri, ReplyToSender, PlainText, identityOf(user), null, msgWindow);
    const window = await compositionWindow();
    const { editor } = window.gMsgCompose;
    await until(() => editor.document.body.textContent.includes("> "), "quoted text");
    editor.endOfDocument();
    editor.insertText(text);
    return send(window);
  },

  // Write a message in the composition window and save it as a draft; return its Message-ID.
  async saveDraft(user, to, subject, text) {
    const window = await compose(user, to, subject, text);
    await window.SaveAsDraft();
    await until(() => !window.gSaveOperationInProgress && window.gMsgCompose.compFields.draftId, "draft saved");
    const saved = { id: window.gMsgCompose.compFields.messageId, folder: window.gMsgCompose.savedFolderURI };
    discard(window);
    return saved;
  },
});
